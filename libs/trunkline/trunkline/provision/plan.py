"""The declarative file: streams, who reads and says what, roles. The rest is derived from it."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ByteSize, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,47}$")]
"""A service's or user's name: one token of a subject, and a role's and schema's name too."""

IntegratorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""A custom channel's account: a token of a subject, an account and a user of its own."""

StreamName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,31}$")]
Duration = Annotated[str, Field(pattern=r"^[0-9]+(ms|s|min|h)$")]

CONFIGURATION = "WORKSPACE"
REPLAYS = "REDRIVE"
CUSTOM = "channels.custom"
"""What integrators ask on: this and their name."""


class Part(BaseModel):
    """A piece of the file; what it does not know, it refuses."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Stream(Part):
    """One stream: kept on disk, full means refused, nothing in it is replaced or deleted."""

    subjects: Annotated[list[str], Field(min_length=1)]
    max_bytes: ByteSize
    max_age: timedelta = timedelta(0)
    duplicate_window: timedelta = timedelta(minutes=2)
    may_delete: bool = False
    may_purge: bool = False


class Service(Part):
    """What one service is called, hears and says."""

    stream: StreamName
    reads: list[StreamName]
    publishes: list[str] = []
    """Subjects beyond those every service has."""
    requests: list[str] = []
    """JetStream calls beyond those every reader has."""
    answers: list[str] = []
    """Subjects on which one of its replicas answers whoever asks."""
    relay_publishes: list[str] = []
    relay_streams: list[StreamName] = []
    outbox: Literal["table", "view"] = "table"
    """`view`: the service's own log is its outbox, so it gets no table of that name."""


class Subscriber(Part):
    """An internal service that reads: a user, and a durable of its own on each stream."""

    streams: Annotated[list[StreamName], Field(min_length=1)]
    filters: list[str] = []
    """Subjects to hear; none means all."""


class Limits(Part):
    """What one service's role may cost the database."""

    connections: int = Field(default=60, ge=1)
    statement_timeout: Duration = "10s"
    lock_timeout: Duration = "5s"
    idle_in_transaction_session_timeout: Duration = "10s"


class Plan(Part):
    """The whole file."""

    streams: dict[StreamName, Stream]
    services: dict[Name, Service]
    readers: dict[Name, Annotated[int, Field(ge=1, le=16)]] = {}
    """Into how many groups of slots a service's readers are split; one unless said."""
    subscribers: dict[Name, Subscriber] = {}
    observers: dict[Name, list[StreamName]] = {}
    """Users that look on: they read these streams from anywhere, and leave nothing behind."""
    integrators: list[IntegratorName] = []
    """Those with a channel of their own: each gets an account that can do nothing but ask there."""
    database: Limits = Limits()

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        for where, streams in self._named():
            self._known(where, streams)
        for name in self.subscribers:
            if name in self.users:
                raise ValueError(f"subscribers.{name}: the name of a user that exists already")
        for name in self.integrators:
            if name in self.users or name in self.subscribers:
                raise ValueError(f"integrators.{name}: the name of a user that exists already")
        for name in self.readers:
            if name not in self.services:
                raise ValueError(f"readers.{name}: not a service ({', '.join(self.services)})")
        return self

    def _named(self) -> Iterator[tuple[str, list[str]]]:
        for name, service in self.services.items():
            named = [service.stream, *service.reads, *service.relay_streams]
            yield f"services.{name}", named
        for name, streams in self.observers.items():
            yield f"observers.{name}", streams
        for name, subscriber in self.subscribers.items():
            yield f"subscribers.{name}", subscriber.streams

    def _known(self, where: str, streams: list[str]) -> None:
        for stream in streams:
            if stream not in self.streams:
                known = ", ".join(self.streams)
                raise ValueError(f"{where}: no such stream {stream!r} (allowed: {known})")

    @property
    def users(self) -> list[str]:
        """NATS users that belong to the system itself."""
        own = [user for name in self.services for user in (name, f"{name}-relay")]
        return ["admin", "sys", *own, *self.observers]

    def owner_of(self, stream: str) -> str | None:
        """Give the service that a stream is the voice of, if it is one's."""
        return next((n for n, s in self.services.items() if s.stream == stream), None)

    def groups(self, service: str) -> int:
        """Into how many groups of slots the service's readers are split."""
        return self.readers.get(service, 1)

    def with_subscribers(self, more: Mapping[str, Subscriber]) -> "Plan":
        """Give the same plan with the workspace's subscribers too."""
        together = {**self.subscribers, **more}
        return Plan.model_validate(
            {**self.model_dump(), "subscribers": {k: v.model_dump() for k, v in together.items()}}
        )

    def with_integrators(self, more: Iterable[str]) -> "Plan":
        """Give the same plan with the workspace's integrators too."""
        together = sorted({*self.integrators, *more})
        return Plan.model_validate({**self.model_dump(), "integrators": together})


def read_plan(file: Path) -> Plan:
    """Read and check the declarative file."""
    return Plan.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
