"""A body that came in several messages is one again, and a broken one harms nobody else."""

from chassis.messaging.message import CHUNK_HEADER, ChunkAssembler, StreamMessage


def chunk(sequence: int, key: str, told: str | None, data: bytes) -> StreamMessage:
    headers = {"Nats-Msg-Id": key} | ({CHUNK_HEADER: told} if told else {})
    subject = f"inbound.email.main.07.{key}"
    return StreamMessage(subject, data, sequence, 0, sequence, headers)


def test_chunks_are_joined_at_the_last_ones_position() -> None:
    joiner = ChunkAssembler()
    whole = chunk(1, "a", None, b"alone")

    assert joiner.join([whole, chunk(2, "b", "1/3", b"x"), chunk(3, "b", "2/3", b"y")]) == [whole]
    [joined, after] = joiner.join([chunk(4, "b", "3/3", b"z"), chunk(5, "c", None, b"!")])

    assert (joined.data, joined.position, joined.stream_sequence) == (b"xyz", 4, 4)
    assert joined.chunks == 3
    assert CHUNK_HEADER not in joined.headers
    assert after.data == b"!"


def test_incomplete_body_is_passed_on() -> None:
    joiner = ChunkAssembler()
    told = joiner.join(
        [
            chunk(1, "a", "2/3", b"no beginning"),
            chunk(2, "b", "1/2", b"no end"),
            chunk(3, "c", "1/2", b"one "),
            chunk(4, "c", "2/2", b"whole"),
            chunk(5, "d", "x/0", b"nonsense"),
        ]
    )

    assert [item.data for item in told] == [b"no beginning", b"no end", b"one whole", b"nonsense"]
    assert [item.position for item in told] == [1, 2, 4, 5]
