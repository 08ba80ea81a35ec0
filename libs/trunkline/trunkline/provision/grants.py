"""Who may say and hear what on NATS, and in which account, derived from the plan.

The server checks neither the reply subject of a JetStream call nor the deliver subject in the body
of one that makes a consumer: who may make a call in the account of the streams could store a
message in any of them. So that account is the administrator's alone. Everybody else lives in
another, which imports the calls as services: a reply subject stays within the caller's account. No
call that makes or deletes a consumer is granted to anybody.
"""

from collections.abc import Iterator
from typing import NamedTuple

from chassis.configuration.publishing import SUBJECT
from chassis.messaging.slots import Consumer
from trunkline.provision.plan import (
    CUSTOM_SUBJECT,
    REPLAY_STREAM,
    WORKSPACE_STREAM,
    Plan,
    PlanPart,
    Service,
    Subscriber,
)

STREAMS, SERVICES = "APP", "SERVICES"
"""The accounts of the streams, and of all services and relays."""
NOT_IMPORTED = ("wake.", "replay.", "_R_.")
"""What services say among themselves, and answers to other accounts: imported from nowhere."""
MULTIPLE_RESPONSES = ("$JS.API.CONSUMER.MSG.NEXT.", "$JS.API.DIRECT.GET.")
"""Calls that are answered with several messages."""
ACCOUNT_INFO = "$JS.API.INFO"
"""An account that does not import this call is answered by the server itself that it has no
JetStream, on every call and before the account of the streams is. Nobody is granted it."""


class Grants(PlanPart):
    """Subjects a user may publish to and subscribe to; `None` means all (the administrator)."""

    publish: list[str] | None = None
    subscribe: list[str] | None = None


class Import(NamedTuple):
    """A subject that one account imports from another."""

    importer: str
    exporter: str
    subject: str
    kind: str
    """`service`: the importer asks there. `stream`: it hears there."""


def consumer_calls(consumer: Consumer) -> list[str]:
    """Return the calls of a reader: move its own consumer, look at it, ask for what comes next."""
    calls = ("RESET", "INFO", "MSG.NEXT")
    return [f"$JS.API.CONSUMER.{call}.{consumer.stream}.{consumer.name}" for call in calls]


def stream_read_calls(stream: str) -> list[str]:
    """Return the calls of somebody who reads a stream without a consumer."""
    return [f"$JS.API.STREAM.INFO.{stream}", f"$JS.API.DIRECT.GET.{stream}"]


def stream_end_calls(stream: str) -> list[str]:
    """Calls of a relay: where its stream ends, and with what."""
    return [f"$JS.API.STREAM.INFO.{stream}", f"$JS.API.STREAM.MSG.GET.{stream}"]


def service_grants(plan: Plan, name: str, service: Service) -> Grants:
    """The service's own user: it reads; it never speaks in `trunkline.>`."""
    publish = [f"$JS.API.STREAM.INFO.{stream}" for stream in service.reads]
    publish += [call for consumer in plan.consumers_of(name) for call in consumer_calls(consumer)]
    publish += [
        call for stream in (REPLAY_STREAM, WORKSPACE_STREAM) for call in stream_read_calls(stream)
    ]
    owners = [owner for stream in service.reads if (owner := plan.owner_of(stream))]
    publish += [f"replay.{owner}" for owner in owners]
    publish += [f"wake.{name}", f"parked.{name}.>", *service.publishes, *service.requests]
    subscribe = [f"_INBOX_{name}.>", f"wake.{name}", SUBJECT]
    if service.answers:
        # as one of a queue only, so that nobody listens in; answers to another account go by `_R_`
        subscribe += [f"{subject} {name}" for subject in service.answers]
        publish.append("_R_.>")
    return Grants(publish=publish, subscribe=subscribe)


def relay_grants(name: str, service: Service) -> Grants:
    """The relay's user: the one voice of the service's stream."""
    user = f"{name}-relay"
    publish = [f"trunkline.{name}.>", "redrive.>", f"wake.{name}", *service.relay_publishes]
    publish += [*stream_end_calls(service.stream), f"$JS.API.STREAM.PURGE.{service.stream}"]
    publish += [call for stream in service.relay_streams for call in stream_end_calls(stream)]
    return Grants(publish=publish, subscribe=[f"_INBOX_{user}.>", f"replay.{name}", f"wake.{name}"])


def subscriber_grants(name: str, subscriber: Subscriber) -> Grants:
    """A subscriber's user: it may pull and settle its own durables, and nothing else."""
    publish: list[str] = []
    for stream in subscriber.streams:
        publish += [
            f"$JS.API.CONSUMER.INFO.{stream}.{name}",
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}",
            f"$JS.ACK.{stream}.{name}.>",
        ]
    return Grants(publish=publish, subscribe=[f"_INBOX_{name}.>"])


def observer_grants(name: str, streams: list[str]) -> Grants:
    """An observer's user: it reads streams, leaves nothing behind, and says nothing."""
    publish = [call for stream in streams for call in stream_read_calls(stream)]
    return Grants(publish=publish, subscribe=[f"_INBOX_{name}.>"])


def integrator_grants(name: str) -> Grants:
    """An integrator's user: it may ask on its own subject and hear the answer, nothing else."""
    return Grants(publish=[integrator_subject(name)], subscribe=[f"_INBOX_{name}.>"])


def integrator_subject(integrator: str) -> str:
    """Give the one subject an integrator's account imports."""
    return f"{CUSTOM_SUBJECT}.{integrator}"


def accounts(plan: Plan) -> dict[str, dict[str, Grants]]:
    """Return the users of each account, with what each may do."""
    services: dict[str, Grants] = {}
    for name, service in plan.services.items():
        services[name] = service_grants(plan, name, service)
        services[f"{name}-relay"] = relay_grants(name, service)
    users_by_account = {STREAMS: {"admin": Grants()}, SERVICES: services}
    for name, streams in plan.observers.items():
        users_by_account[f"OBSERVER_{name}"] = {name: observer_grants(name, streams)}
    for name, subscriber in plan.subscribers.items():
        users_by_account[f"SUBSCRIBER_{name}"] = {name: subscriber_grants(name, subscriber)}
    for name in plan.integrators:
        users_by_account[f"CUSTOM_{name}"] = {name: integrator_grants(name)}
    return users_by_account


def grants(plan: Plan) -> dict[str, Grants]:
    """Return every user but the server's own, with what it may do."""
    return {name: grant for users in accounts(plan).values() for name, grant in users.items()}


def imports(users: dict[str, dict[str, Grants]]) -> Iterator[Import]:
    """Yield what accounts import, each subject once: what their users may say, and no more."""
    for account, members in users.items():
        if account == STREAMS:
            continue
        subjects = dict.fromkeys(s for grant in members.values() for s in grant.publish or [])
        if any(subject.startswith("$JS.") for subject in subjects):
            yield Import(account, STREAMS, ACCOUNT_INFO, "service")
        for subject in subjects:
            if subject.startswith(f"{CUSTOM_SUBJECT}."):
                yield Import(account, SERVICES, subject, "service")
            elif not subject.startswith(NOT_IMPORTED):
                yield Import(account, STREAMS, subject, "service")
    yield Import(SERVICES, STREAMS, SUBJECT, "stream")
