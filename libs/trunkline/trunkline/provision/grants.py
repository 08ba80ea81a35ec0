"""Derive the accounts and users of NATS and their permissions from the plan.

The server checks neither the reply subject of a JetStream call nor the deliver subject in the body
of a call that creates a consumer. A user with any call in the account of the streams could
therefore store messages in every stream. So only the administrator belongs to that account. All
others belong to other accounts, which import the calls as services: reply subjects stay within the
account of the caller. Nobody is granted a call that creates or deletes a consumer (ADR 0019).
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
"""The account of the streams, and the account of all services and relays."""
NOT_IMPORTED = ("wake.", "replay.", "_R_.")
"""Messages between services and responses to other accounts, which are not imported."""
MULTIPLE_RESPONSES = ("$JS.API.CONSUMER.MSG.NEXT.", "$JS.API.DIRECT.GET.")
"""Calls with several response messages."""
ACCOUNT_INFO = "$JS.API.INFO"
"""Every account with JetStream calls imports this one. Without the import
the server itself answers each call with the error that the account has no JetStream. No user is
granted it."""


class Grants(PlanPart):
    """Subjects a user may publish to and subscribe to; None means all (the administrator)."""

    publish: list[str] | None = None
    subscribe: list[str] | None = None


class Import(NamedTuple):
    """A subject that one account imports from another."""

    importer: str
    exporter: str
    subject: str
    kind: str
    """`service`: the importer sends requests to it. `stream`: the importer subscribes to it."""


def consumer_calls(consumer: Consumer) -> list[str]:
    """Return the calls of a reader: reset its consumer, inspect it and request messages."""
    calls = ("RESET", "INFO", "MSG.NEXT")
    return [f"$JS.API.CONSUMER.{call}.{consumer.stream}.{consumer.name}" for call in calls]


def stream_read_calls(stream: str) -> list[str]:
    """Return the calls for reading a stream without a consumer."""
    return [f"$JS.API.STREAM.INFO.{stream}", f"$JS.API.DIRECT.GET.{stream}"]


def stream_end_calls(stream: str) -> list[str]:
    """Return the calls with which a relay finds the last message of its stream."""
    return [f"$JS.API.STREAM.INFO.{stream}", f"$JS.API.STREAM.MSG.GET.{stream}"]


def service_grants(plan: Plan, name: str, service: Service) -> Grants:
    """Return the permissions of a service, which reads but never publishes to `trunkline.>`."""
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
        # In a queue group only, so that no other user receives copies. Responses to other accounts
        # are published below `_R_`.
        subscribe += [f"{subject} {name}" for subject in service.answers]
        publish.append("_R_.>")
    return Grants(publish=publish, subscribe=subscribe)


def relay_grants(name: str, service: Service) -> Grants:
    """Return the permissions of a relay, the only publisher of its service's stream."""
    user = f"{name}-relay"
    publish = [f"trunkline.{name}.>", "redrive.>", f"wake.{name}", *service.relay_publishes]
    publish += [*stream_end_calls(service.stream), f"$JS.API.STREAM.PURGE.{service.stream}"]
    publish += [call for stream in service.relay_streams for call in stream_end_calls(stream)]
    return Grants(publish=publish, subscribe=[f"_INBOX_{user}.>", f"replay.{name}", f"wake.{name}"])


def subscriber_grants(name: str, subscriber: Subscriber) -> Grants:
    """Return the permissions of a subscriber: pull from its own durables and acknowledge."""
    publish: list[str] = []
    for stream in subscriber.streams:
        publish += [
            f"$JS.API.CONSUMER.INFO.{stream}.{name}",
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}",
            f"$JS.ACK.{stream}.{name}.>",
        ]
    return Grants(publish=publish, subscribe=[f"_INBOX_{name}.>"])


def observer_grants(name: str, streams: list[str]) -> Grants:
    """Return the permissions of an observer: read streams without creating anything."""
    publish = [call for stream in streams for call in stream_read_calls(stream)]
    return Grants(publish=publish, subscribe=[f"_INBOX_{name}.>"])


def integrator_grants(name: str) -> Grants:
    """Return the permissions of an integrator: send requests to its own subject."""
    return Grants(publish=[integrator_subject(name)], subscribe=[f"_INBOX_{name}.>"])


def integrator_subject(integrator: str) -> str:
    """Return the only subject the account of an integrator imports."""
    return f"{CUSTOM_SUBJECT}.{integrator}"


def accounts(plan: Plan) -> dict[str, dict[str, Grants]]:
    """Return the users of each account with their permissions."""
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
    """Return all users except the system user with their permissions."""
    return {name: grant for users in accounts(plan).values() for name, grant in users.items()}


def imports(users: dict[str, dict[str, Grants]]) -> Iterator[Import]:
    """Yield the imports of all accounts: the subjects their users may publish to, each once."""
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
