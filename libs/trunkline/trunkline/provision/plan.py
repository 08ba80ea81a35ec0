"""The declarative file: streams, who reads and says what, roles. The rest is derived from it.

Long: the whole file's form is read together.
"""

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
"""A service's or user's name: one token of a subject, and a role's and schema's name too."""

IntegratorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""A custom channel's account: a token of a subject, an account and a user of its own."""

StreamName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,31}$")]
Duration = Annotated[str, Field(pattern=r"^[0-9]+(ms|s|min|h)$")]

WORKSPACE_STREAM = "WORKSPACE"
REPLAY_STREAM = "REDRIVE"
CUSTOM_SUBJECT = "channels.custom"
"""What integrators ask on: this and their name."""


def _check_slot_groups(groups: int) -> int:
    if groups not in SLOT_GROUPS:
        raise ValueError(f"{groups} groups: allowed are {', '.join(map(str, SLOT_GROUPS))}")
    return groups


Groups = Annotated[
    list[Annotated[int, AfterValidator(_check_slot_groups)]],
    BeforeValidator(lambda value: value if isinstance(value, list) else [value]),
    Field(min_length=1),
]
"""A number of slot groups, or several while replicas are changed from one to the other."""


class PlanPart(BaseModel):
    """A piece of the file; what it does not know, it refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stream(PlanPart):
    """One stream: kept on disk, full means refused, nothing in it is replaced or deleted."""

    subjects: Annotated[list[str], Field(min_length=1)]
    max_bytes: ByteSize
    max_age: timedelta = timedelta(0)
    duplicate_window: timedelta = timedelta(minutes=2)
    may_delete: bool = False
    may_purge: bool = False


class AdditionalReader(PlanPart):
    """A reader beside those that are named for the stream they read."""

    stream: StreamName
    subjects: str
    """What its subjects begin with, up to the slot."""


class Service(PlanPart):
    """What one service is called, hears and says."""

    stream: StreamName
    reads: list[StreamName]
    also_reads: dict[Name, AdditionalReader] = {}
    publishes: list[str] = []
    """Subjects beyond those every service has."""
    requests: list[str] = []
    """JetStream calls beyond those every reader has. None that makes or deletes anything."""
    answers: list[str] = []
    """Subjects on which one of its replicas answers whoever asks."""
    relay_publishes: list[str] = []
    relay_streams: list[StreamName] = []
    outbox: Literal["table", "view"] = "table"
    """`view`: the service's own log is its outbox, so it gets no table of that name."""


class Subscriber(PlanPart):
    """An internal service that reads: a user, and a durable of its own on each stream."""

    streams: Annotated[list[StreamName], Field(min_length=1)]
    filters: list[str] = []
    """Subjects to hear; none means all."""


class Limits(PlanPart):
    """What one service's role may cost the database."""

    connections: int = Field(default=60, ge=1)
    statement_timeout: Duration = "10s"
    lock_timeout: Duration = "5s"
    idle_in_transaction_session_timeout: Duration = "10s"


class Plan(PlanPart):
    """The whole file."""

    streams: dict[StreamName, Stream]
    services: dict[Name, Service]
    readers: dict[Name, Groups] = {}
    """Into how many groups of slots a service's readers are split; one unless said."""
    subscribers: dict[Name, Subscriber] = {}
    observers: dict[Name, list[StreamName]] = {}
    """Users that look on: they read these streams from anywhere, and leave nothing behind."""
    integrators: list[IntegratorName] = []
    """Those with a channel of their own: each gets an account that can do nothing but ask there."""
    database: Limits = Limits()

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        for path, streams in self._stream_references():
            self._check_streams(path, streams)
        for name in self.subscribers:
            if name in self.users:
                raise ValueError(f"subscribers.{name}: the name of a user that exists already")
        for name in self.integrators:
            if name in self.users or name in self.subscribers:
                raise ValueError(f"integrators.{name}: the name of a user that exists already")
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
        """NATS users that belong to the system itself."""
        own = [user for name in self.services for user in (name, f"{name}-relay")]
        return ["admin", "sys", *own, *self.observers]

    def owner_of(self, stream: str) -> str | None:
        """Give the service that a stream is the voice of, if it is one's."""
        return next((n for n, s in self.services.items() if s.stream == stream), None)

    def groups(self, service: str) -> list[int]:
        """Into how many groups of slots the service's readers are split."""
        return self.readers.get(service, [1])

    def consumers(self) -> Iterator[Consumer]:
        """Yield the consumers of all services' readers."""
        for name in self.services:
            yield from self.consumers_of(name)

    def consumers_of(self, service: str) -> Iterator[Consumer]:
        """Yield the consumers of a service's readers: one for each group of slots."""
        declared = self.services[service]
        readers = [(stream.lower(), stream, "") for stream in declared.reads]
        readers += [(name, r.stream, r.subjects) for name, r in declared.also_reads.items()]
        for groups in self.groups(service):
            for reader, stream, subjects in readers:
                for slots in slot_groups(groups):
                    yield Consumer.of(service, reader, stream, subjects, slots)

    def with_readers(self, groups: int) -> "Plan":
        """Return the same plan with so many slot groups where the file does not say."""
        readers = {name: [groups] for name in self.services} | self.readers
        return Plan.model_validate({**self.model_dump(), "readers": readers})

    def with_subscribers(self, additional: Mapping[str, Subscriber]) -> "Plan":
        """Give the same plan with the workspace's subscribers too."""
        combined = {**self.subscribers, **additional}
        return Plan.model_validate(
            {**self.model_dump(), "subscribers": {k: v.model_dump() for k, v in combined.items()}}
        )

    def with_integrators(self, additional: Iterable[str]) -> "Plan":
        """Give the same plan with the workspace's integrators too."""
        combined = sorted({*self.integrators, *additional})
        return Plan.model_validate({**self.model_dump(), "integrators": combined})


def read_plan(file: Path) -> Plan:
    """Read and check the declarative file."""
    return Plan.model_validate(YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8")))
