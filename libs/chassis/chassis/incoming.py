"""What a reader hears, before and after it has been understood."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nats.aio.msg import Msg


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message of a stream, with its place in it."""

    subject: str
    data: bytes
    position: int | None
    """The producer's outbox position (INBOUND: the sequence); None from a foreign hand."""
    previous: int
    """The position of its predecessor in the same slot."""
    stream_sequence: int
    headers: Mapping[str, str] = field(default_factory=dict)
    consumer_sequence: int = 0
    pending: int = 0

    @property
    def slot(self) -> int:
        """The slot its key falls into, 0 to 15."""
        return int(self.subject.rsplit(".", 2)[1])

    @property
    def key(self) -> str:
        """What it is about; readable even when the body is not."""
        return self.subject.rsplit(".", 1)[1]

    @property
    def type(self) -> str:
        """The fact's name."""
        return self.subject.rsplit(".", 2)[0]


def from_stream(msg: Msg, *, own_positions: bool) -> Incoming:
    """Read a delivered message's place from its reply subject and headers."""
    tokens = msg.reply.split(".")
    sequence, consumer_sequence, pending = int(tokens[-4]), int(tokens[-3]), int(tokens[-1])
    headers: dict[str, Any] = msg.headers or {}
    told = headers.get("Trunkline-Position", "")
    position: int | None = int(told) if told.isdigit() else None
    if own_positions:
        position = sequence
    previous = headers.get("Trunkline-Previous", "0")
    return Incoming(
        subject=headers.get("Trunkline-Subject", msg.subject),
        data=msg.data,
        position=position,
        previous=int(previous) if previous.isdigit() else 0,
        stream_sequence=sequence,
        headers=headers,
        consumer_sequence=consumer_sequence,
        pending=pending,
    )
