"""The provisioning file: streams, readers, permissions and limits of roles, checked on reading."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    model_validator,
)
from ruamel.yaml import YAML

from chassis.messaging.slots import SLOT_GROUPS, Consumer, slot_groups

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,47}$")]
"""The name of a service or user: a subject token, and the name of a role and a schema."""

IntegratorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""The account of a custom channel: a subject token, and the name of an account and a user."""

StreamName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,31}$")]
Duration = Annotated[str, Field(pattern=r"^[0-9]+(ms|s|min|h)$")]

WORKSPACE_STREAM = "WORKSPACE"
REPLAY_STREAM = "REDRIVE"
CUSTOM_SUBJECT = "channels.custom"
"""Integrators send requests to this subject followed by their name."""


def _check_slot_groups(groups: int) -> int:
    if groups not in SLOT_GROUPS:
        raise ValueError(f"{groups} groups: allowed are {', '.join(map(str, SLOT_GROUPS))}")
    return groups


Groups = Annotated[
    list[Annotated[int, AfterValidator(_check_slot_groups)]],
    BeforeValidator(lambda value: value if isinstance(value, list) else [value]),
    Field(min_length=1),
]
"""A number of slot groups, or several while replicas change from one number to another."""


class PlanPart(BaseModel):
    """A part of the file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stream(PlanPart):
    """A stream: stored on disk, refuses new messages when full, replaces and deletes nothing."""

    subjects: Annotated[list[str], Field(min_length=1)]
    max_bytes: ByteSize
    max_age: timedelta = timedelta(0)
    duplicate_window: timedelta = timedelta(minutes=2)
    may_delete: bool = False
    may_purge: bool = False


class AdditionalReader(PlanPart):
    """A reader in addition to those named after the stream they read."""

    stream: StreamName
    subjects: str
    """The beginning of its subjects, up to the slot."""


class Service(PlanPart):
    """A service: its stream, the streams it reads and the subjects it publishes to."""

    stream: StreamName
    reads: list[StreamName]
    also_reads: dict[Name, AdditionalReader] = {}
    publishes: list[str] = []
    """Subjects in addition to those of every service."""
    requests: list[str] = []
    """JetStream calls in addition to those of every reader; none that creates or deletes."""
    answers: list[str] = []
    """Subjects on which one of its replicas answers requests."""
    relay_publishes: list[str] = []
    relay_streams: list[StreamName] = []
    outbox: Literal["table", "view"] = "table"
    """`view`: the event log of the service is its outbox, so no table `outbox` is created."""


class Subscriber(PlanPart):
    """An internal service that reads facts: a user with a durable on each stream."""

    streams: Annotated[list[StreamName], Field(min_length=1)]
    filters: list[str] = []
    """Subjects to read; none means all."""


class Limits(PlanPart):
    """Limits of the database role of a service."""

    connections: int = Field(default=60, ge=1)
    statement_timeout: Duration = "10s"
    lock_timeout: Duration = "5s"
    idle_in_transaction_session_timeout: Duration = "10s"


class Plan(PlanPart):
    """The whole provisioning file."""

    streams: dict[StreamName, Stream]
    services: dict[Name, Service]
    readers: dict[Name, Groups] = {}
    """The number of slot groups of the readers of a service; one by default."""
    subscribers: dict[Name, Subscriber] = {}
    observers: dict[Name, list[StreamName]] = {}
    """Read-only users and the streams they may read, from any sequence, without a consumer."""
    integrators: list[IntegratorName] = []
    """Integrators; each gets an account that can only send requests to its own channel."""
    database: Limits = Limits()

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        for path, streams in self._stream_references():
            self._check_streams(path, streams)
        for name in self.subscribers:
            if name in self.users:
                raise ValueError(f"subscribers.{name}: a user of this name exists already")
        for name in self.integrators:
            if name in self.users or name in self.subscribers:
                raise ValueError(f"integrators.{name}: a user of this name exists already")
        self._check_consumer_names()
        for name in self.readers:
            if name not in self.services:
                raise ValueError(f"readers.{name}: not a service ({', '.join(self.services)})")
        return self

    def _stream_references(self) -> Iterator[tuple[str, list[str]]]:
        for name, service in self.services.items():
            streams = [service.stream, *service.reads, *service.relay_streams]
            streams += [reader.stream for reader in service.also_reads.values()]
            yield f"services.{name}", streams
        for name, streams in self.observers.items():
            yield f"observers.{name}", streams
        for name, subscriber in self.subscribers.items():
            yield f"subscribers.{name}", subscriber.streams

    def _check_consumer_names(self) -> None:
        for consumer in self.consumers():
            subscriber = self.subscribers.get(consumer.name)
            if subscriber is not None and consumer.stream in subscriber.streams:
                raise ValueError(f"subscribers.{consumer.name}: the name of a reader's consumer")

    def _check_streams(self, path: str, streams: list[str]) -> None:
        for stream in streams:
            if stream not in self.streams:
                allowed = ", ".join(self.streams)
                raise ValueError(f"{path}: no such stream {stream!r} (allowed: {allowed})")

    @property
    def users(self) -> list[str]:
        """The names of the NATS users of Trunkline itself."""
        own = [user for name in self.services for user in (name, f"{name}-relay")]
        return ["admin", "sys", *own, *self.observers]

    def owner_of(self, stream: str) -> str | None:
        """Return the service that publishes to a stream, None if there is none."""
        return next((n for n, s in self.services.items() if s.stream == stream), None)

    def groups(self, service: str) -> list[int]:
        """Return the numbers of slot groups of the readers of a service."""
        return self.readers.get(service, [1])

    def consumers(self) -> Iterator[Consumer]:
        """Yield the consumers of the readers of all services."""
        for name in self.services:
            yield from self.consumers_of(name)

    def consumers_of(self, service: str) -> Iterator[Consumer]:
        """Yield the consumers of the readers of a service: one per reader and slot group."""
        declared = self.services[service]
        readers = [(stream.lower(), stream, "") for stream in declared.reads]
        readers += [(name, r.stream, r.subjects) for name, r in declared.also_reads.items()]
        for groups in self.groups(service):
            for reader, stream, subjects in readers:
                for slots in slot_groups(groups):
                    yield Consumer.of(service, reader, stream, subjects, slots)

    def with_readers(self, groups: int) -> "Plan":
        """Return the plan with this number of slot groups for services the file does not name."""
        readers = {name: [groups] for name in self.services} | self.readers
        return Plan.model_validate({**self.model_dump(), "readers": readers})

    def with_subscribers(self, additional: Mapping[str, Subscriber]) -> "Plan":
        """Return the plan with additional subscribers."""
        combined = {**self.subscribers, **additional}
        return Plan.model_validate(
            {**self.model_dump(), "subscribers": {k: v.model_dump() for k, v in combined.items()}}
        )

    def with_integrators(self, additional: Iterable[str]) -> "Plan":
        """Return the plan with additional integrators."""
        combined = sorted({*self.integrators, *additional})
        return Plan.model_validate({**self.model_dump(), "integrators": combined})


def read_plan(file: Path) -> Plan:
    """Return the checked provisioning file; raises `ValidationError` if it is invalid."""
    return Plan.model_validate(YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8")))
