"""Messages of a stream, with their position in it, and the assembly of chunked bodies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nats.aio.msg import Msg

from trunkline_contracts.fact import SLOTS

NO_SLOT = -1
"""The slot of a subject that names none."""
_SLOTS = {f"{slot:02d}": slot for slot in range(SLOTS)}
_INBOUND_DOTS, _FACT_DOTS = 4, 5


@dataclass(slots=True)
class StreamMessage:
    """A message of a stream, with its position. Not frozen: that would double the cost."""

    subject: str
    data: bytes
    position: int | None
    """The producer's outbox position (INBOUND: the sequence); None from an unknown publisher."""
    previous: int
    """The position of its predecessor in the same slot."""
    stream_sequence: int
    headers: Mapping[str, str] = field(default_factory=dict)
    consumer_sequence: int = 0
    pending: int = 0
    chunks: int = 1
    """The number of messages of the stream that the body was split over."""
    was_deferred: bool = False
    """Whether it was parked or deferred before, and is retried."""

    @property
    def slot(self) -> int:
        """The slot of the key, 0 to 15; `NO_SLOT` when the subject names none."""
        tokens = self.subject.rsplit(".", 2)
        return _SLOTS.get(tokens[-2], NO_SLOT) if len(tokens) == 3 else NO_SLOT

    @property
    def key(self) -> str:
        """The key of the fact; readable even when the body is not."""
        return self.subject.rsplit(".", 1)[-1]

    @property
    def type(self) -> str:
        """The name of the fact."""
        return self.subject.rsplit(".", 2)[0]


def from_stream(msg: Msg, *, own_positions: bool) -> StreamMessage:
    """Return a delivered message, with the position from its reply subject and headers."""
    tokens = msg.reply.split(".")
    sequence, consumer_sequence, pending = int(tokens[-4]), int(tokens[-3]), int(tokens[-1])
    headers = _as_text(msg.headers or {})
    position = parse_position(headers.get("Trunkline-Position", ""))
    if own_positions:
        position = sequence
    if not is_addressed(msg.subject, is_inbound=own_positions):
        position = None
    return StreamMessage(
        subject=msg.subject,
        data=msg.data,
        position=position,
        previous=parse_position(headers.get("Trunkline-Previous", "")) or 0,
        stream_sequence=sequence,
        headers=headers,
        consumer_sequence=consumer_sequence,
        pending=pending,
    )


def from_direct(msg: Msg) -> StreamMessage:
    """Return a message of a direct get, with the position from its headers."""
    headers = _as_text(msg.headers or {})
    return StreamMessage(
        subject=headers.get("Trunkline-Subject", headers["Nats-Subject"]),
        data=msg.data,
        position=parse_position(headers.get("Trunkline-Position", "")),
        previous=parse_position(headers.get("Trunkline-Previous", "")) or 0,
        stream_sequence=int(headers["Nats-Sequence"]),
        headers=headers,
        pending=int(headers.get("Nats-Num-Pending", 0)),
    )


def is_addressed(subject: str, *, is_inbound: bool) -> bool:
    """Return whether a subject has the tokens of a delivery or a fact, with a slot of 00 to 15."""
    tokens = subject.rsplit(".", 2)
    dots = _INBOUND_DOTS if is_inbound else _FACT_DOTS
    return subject.count(".") == dots and tokens[-2] in _SLOTS


def _as_text(headers: Mapping[str, Any]) -> Mapping[str, str]:
    """Return headers as text: nats-py makes other objects of bytes that are not ASCII."""
    if all(type(value) is str for value in headers.values()):
        return headers
    return {name: str(value) for name, value in headers.items()}


def parse_position(header: object) -> int | None:
    """Return the position in a header; None when it is no number or too large for a bigint."""
    written = str(header)  # nats-py makes an object of another class of bytes that are not ASCII
    is_number = written.isascii() and written.isdigit() and len(written) <= 18
    return int(written) if is_number else None


CHUNK_HEADER = "Trunkline-Chunk"
"""`2/7`: the second of seven messages that one body is split over."""
MAX_BODY_BYTES = 40 * 1024 * 1024
"""Bytes buffered for one body. The pieces of a larger body are passed on, and refused later."""


class ChunkAssembler:
    """Joins the chunks of a body, which are adjacent in the stream, into one message.

    Incomplete bodies are buffered, so the reader's position stays before them; after a restart
    their chunks are read again. A body with a missing chunk is passed on as it is.
    """

    def __init__(self) -> None:
        self._pieces: list[StreamMessage] = []
        self._size = 0

    def join(self, batch: Sequence[StreamMessage]) -> list[StreamMessage]:
        """Return the complete messages, in order."""
        return [whole for item in batch for whole in self._take(item)]

    def _take(self, item: StreamMessage) -> Iterator[StreamMessage]:
        number, of = _chunk(item)
        if self._pieces and (not self._continues(item, number) or self._size > MAX_BODY_BYTES):
            yield self._release()
        if of == 1:
            yield item
            return
        self._pieces.append(item)
        self._size += len(item.data)
        if number >= of or number != len(self._pieces):
            yield self._release()

    def _continues(self, item: StreamMessage, number: int) -> bool:
        return number == len(self._pieces) + 1 and item.subject == self._pieces[0].subject

    def _release(self) -> StreamMessage:
        held, self._pieces, self._size = self._pieces, [], 0
        headers = {name: value for name, value in held[0].headers.items() if name != CHUNK_HEADER}
        data = b"".join(item.data for item in held)
        return replace(held[-1], data=data, headers=headers, chunks=len(held))


def _chunk(item: StreamMessage) -> tuple[int, int]:
    header = item.headers.get(CHUNK_HEADER)
    if header is None:
        return 1, 1
    number, of = map(parse_position, header.partition("/")[::2])
    if number is None or of is None or not 0 < number <= of:
        return 1, 1
    return number, of
