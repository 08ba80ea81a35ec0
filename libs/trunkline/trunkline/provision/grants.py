"""Who may say and hear what on NATS, derived from the plan. Nothing else is granted."""

from trunkline.provision.plan import CONFIGURATION, CUSTOM, REPLAYS, Part, Plan, Service, Subscriber


class Grants(Part):
    """Subjects a user may publish to and subscribe to; `None` means all (the administrator)."""

    publish: list[str] | None = None
    subscribe: list[str] | None = None


def reading(stream: str) -> list[str]:
    """Calls of a position reader: make, ask, look at and end ephemeral consumers of one stream."""
    return [
        f"$JS.API.STREAM.INFO.{stream}",
        f"$JS.API.CONSUMER.CREATE.{stream}",
        f"$JS.API.CONSUMER.CREATE.{stream}.>",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.>",
        f"$JS.API.CONSUMER.INFO.{stream}.>",
        f"$JS.API.CONSUMER.DELETE.{stream}.>",
    ]


def looking_back(stream: str) -> list[str]:
    """Calls of a relay: where its stream ends, and with what."""
    return [f"$JS.API.STREAM.INFO.{stream}", f"$JS.API.STREAM.MSG.GET.{stream}"]


def of_service(plan: Plan, name: str, service: Service) -> Grants:
    """The service's own user: it reads; it never speaks in `trunkline.>`."""
    publish = [call for stream in service.reads for call in reading(stream)]
    publish += [call for stream in (REPLAYS, CONFIGURATION) for call in reading(stream)]
    owners = [owner for stream in service.reads if (owner := plan.owner_of(stream))]
    publish += [f"replay.{owner}" for owner in owners]
    publish += [f"wake.{name}", f"parked.{name}.>", *service.publishes, *service.requests]
    subscribe = [f"_INBOX_{name}.>", f"wake.{name}"]
    if service.answers:
        # as one of a queue only, so that nobody listens in; answers to another account go by `_R_`
        subscribe += [f"{subject} {name}" for subject in service.answers]
        publish.append("_R_.>")
    return Grants(publish=publish, subscribe=subscribe)


def of_relay(name: str, service: Service) -> Grants:
    """The relay's user: the one voice of the service's stream."""
    user = f"{name}-relay"
    publish = [f"trunkline.{name}.>", "redrive.>", f"wake.{name}", *service.relay_publishes]
    publish += [*looking_back(service.stream), f"$JS.API.STREAM.PURGE.{service.stream}"]
    publish += [call for stream in service.relay_streams for call in looking_back(stream)]
    return Grants(publish=publish, subscribe=[f"_INBOX_{user}.>", f"replay.{name}", f"wake.{name}"])


def of_subscriber(name: str, subscriber: Subscriber) -> Grants:
    """A subscriber's user: it may pull and settle its own durables, and nothing else."""
    publish: list[str] = []
    for stream in subscriber.streams:
        publish += [
            f"$JS.API.CONSUMER.INFO.{stream}.{name}",
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}",
            f"$JS.ACK.{stream}.{name}.>",
        ]
    return Grants(publish=publish, subscribe=[f"_INBOX_{name}.>"])


def of_observer(name: str, streams: list[str]) -> Grants:
    """An observer's user: it reads by position as services do, and says nothing."""
    publish = [call for stream in streams for call in reading(stream)]
    return Grants(publish=publish, subscribe=[f"_INBOX_{name}.>"])


def of_integrator(name: str) -> Grants:
    """An integrator's user: it may ask on its own subject and hear the answer, nothing else."""
    return Grants(publish=[asking(name)], subscribe=[f"_INBOX_{name}.>"])


def asking(integrator: str) -> str:
    """Give the one subject an integrator's account imports."""
    return f"{CUSTOM}.{integrator}"


def grants(plan: Plan) -> dict[str, Grants]:
    """Every user of the account the services share, with what it may do."""
    users = {"admin": Grants()}
    for name, service in plan.services.items():
        users[name] = of_service(plan, name, service)
        users[f"{name}-relay"] = of_relay(name, service)
    for name, streams in plan.observers.items():
        users[name] = of_observer(name, streams)
    for name, subscriber in plan.subscribers.items():
        users[name] = of_subscriber(name, subscriber)
    return users
