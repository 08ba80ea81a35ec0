"""What a reader hears, before and after it has been understood."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nats.aio.msg import Msg


@dataclass(slots=True)
class StreamMessage:
    """A message of a stream, with its place in it. Not frozen: that would double its cost."""

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
    chunks: int = 1
    """How many messages of the stream it came in."""
    was_deferred: bool = False
    """Whether it was parked, or waited, and is tried again."""

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


def from_stream(msg: Msg, *, own_positions: bool) -> StreamMessage:
    """Read a delivered message's place from its reply subject and headers."""
    tokens = msg.reply.split(".")
    sequence, consumer_sequence, pending = int(tokens[-4]), int(tokens[-3]), int(tokens[-1])
    headers: dict[str, Any] = msg.headers or {}
    position = parse_position(headers.get("Trunkline-Position", ""))
    if own_positions:
        position = sequence
    return StreamMessage(
        subject=headers.get("Trunkline-Subject", msg.subject),
        data=msg.data,
        position=position,
        previous=parse_position(headers.get("Trunkline-Previous", "")) or 0,
        stream_sequence=sequence,
        headers=headers,
        consumer_sequence=consumer_sequence,
        pending=pending,
    )


def from_direct(msg: Msg) -> StreamMessage:
    """Read the place of a message that a direct get returned from its headers."""
    headers: dict[str, Any] = msg.headers or {}
    position = headers.get("Trunkline-Position", "")
    previous = headers.get("Trunkline-Previous", "0")
    return StreamMessage(
        subject=headers.get("Trunkline-Subject", headers["Nats-Subject"]),
        data=msg.data,
        position=int(position) if position.isdigit() else None,
        previous=int(previous) if previous.isdigit() else 0,
        stream_sequence=int(headers["Nats-Sequence"]),
        headers=headers,
        pending=int(headers.get("Nats-Num-Pending", 0)),
    )


def parse_position(header: object) -> int | None:
    """Read a position from a header; None for what is no number or fits no bigint."""
    written = str(header)  # of bytes that are no ASCII, nats-py makes an object of another class
    is_number = written.isascii() and written.isdigit() and len(written) <= 18
    return int(written) if is_number else None


CHUNK_HEADER = "Trunkline-Chunk"
"""`2/7`: the second of the seven messages that one body was too large for."""
MAX_BODY_BYTES = 40 * 1024 * 1024
"""Bytes held for one body; of what is larger the pieces are handed on, and their reader refuses."""


class ChunkAssembler:
    """Makes one message of the chunks of a body, which stand side by side in the stream.

    What is not whole yet is held here, so the reader's position stays before it; after a restart
    its chunks are read again. A body whose chunks are not all there is handed on as it is.
    """

    def __init__(self) -> None:
        self._pieces: list[StreamMessage] = []
        self._size = 0

    def join(self, batch: Sequence[StreamMessage]) -> list[StreamMessage]:
        """Give what is whole, in order."""
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
    number, _, of = item.headers.get(CHUNK_HEADER, "1/1").partition("/")
    if not (number.isdecimal() and of.isdecimal() and 0 < int(number) <= int(of)):
        return 1, 1
    return int(number), int(of)
