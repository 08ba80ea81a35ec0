"""Streams and subscribers' durables: made as declared, and corrected when somebody changed them."""

from datetime import timedelta
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError

from trunkline.provision.plan import Plan, Stream, Subscriber

FOR_GOOD = ("storage", "retention")
"""What the server cannot change in a stream that exists."""

ACK_WAIT = 30.0


def wanted(name: str, stream: Stream) -> StreamConfig:
    """Give a stream's configuration as declared."""
    return StreamConfig(
        name=name,
        subjects=list(stream.subjects),
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_bytes=int(stream.max_bytes),
        max_age=stream.max_age.total_seconds(),
        max_msgs=-1,
        max_consumers=-1,
        duplicate_window=stream.duplicate_window.total_seconds(),
        deny_delete=not stream.may_delete,
        deny_purge=not stream.may_purge,
        allow_rollup_hdrs=False,
        allow_direct=True,
        allow_atomic=True,
    )


async def make_stream(
    js: JetStreamContext, name: str, stream: Stream, *, max_age: timedelta | None = None
) -> bool:
    """Create the stream, or correct it. Gives whether anything had to be done."""
    config = wanted(name, stream)
    if max_age is not None:
        config = config.evolve(max_age=max_age.total_seconds())
    try:
        found = (await js.stream_info(name)).config
    except NotFoundError:
        await js.add_stream(config)
        return True
    drift = _drift(found, config)
    for field in FOR_GOOD:
        if field in drift:
            raise RuntimeError(
                f"stream {name}: {field} is {drift[field][0]!r} and must be {drift[field][1]!r},"
                " which no update can change: delete the stream and provision again"
            )
    if not drift:
        return False
    # A protection that was added by hand cannot be taken back, and need not be.
    held = {f: True for f in ("deny_delete", "deny_purge") if getattr(found, f)}
    await js.update_stream(found.evolve(**{f: want for f, (_, want) in drift.items()} | held))
    return True


def _drift(found: StreamConfig, config: StreamConfig) -> dict[str, tuple[Any, Any]]:
    pairs = {
        field: (getattr(found, field), value)
        for field, value in vars(config).items()
        if value is not None and field != "name"
    }
    protections = ("deny_delete", "deny_purge")
    return {
        field: (has, want)
        for field, (has, want) in pairs.items()
        if (has or None) != (want or None) and not (field in protections and has)
    }


async def make_durables(js: JetStreamContext, name: str, subscriber: Subscriber) -> None:
    """Create or correct a subscriber's durable on each stream it reads: acknowledged one by one."""
    for stream in subscriber.streams:
        prefixes = (await js.stream_info(stream)).config.subjects or []
        filters = [f for f in subscriber.filters if _within(f, prefixes)]
        config = ConsumerConfig(
            name=name,
            durable_name=name,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT,
            max_ack_pending=1000,
            filter_subjects=filters or None,
        )
        await js.add_consumer(stream, config)


def _within(filter_: str, subjects: list[str]) -> bool:
    return any(filter_.startswith(subject.removesuffix(">")) for subject in subjects)


async def provision_streams(
    js: JetStreamContext, plan: Plan, *, ages: dict[str, timedelta] | None = None
) -> list[str]:
    """Make streams and durables as declared, some with another `max_age`. Gives what changed."""
    changed = [
        name
        for name, stream in plan.streams.items()
        if await make_stream(js, name, stream, max_age=(ages or {}).get(name))
    ]
    for name, subscriber in plan.subscribers.items():
        await make_durables(js, name, subscriber)
    return changed
