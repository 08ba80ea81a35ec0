"""Streams and consumers: made as declared, and corrected when somebody changed them.

Only declared consumers exist: who reads makes none.
"""

from contextlib import suppress
from datetime import timedelta
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    ConsumerInfo,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError

from chassis.provision.plan import Plan, Stream, Subscriber
from chassis.slots import Consumer, groups_key

FOR_GOOD = ("storage", "retention")
"""What the server cannot change in a stream that exists."""

ACK_WAIT = 30.0
MAX_CONSUMERS = 256
"""Of one stream: four services in sixteen groups, and subscribers."""
PAGE = 256
"""Consumers the server lists in one answer."""


def wanted(name: str, stream: Stream, metadata: dict[str, str] | None = None) -> StreamConfig:
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
        max_consumers=MAX_CONSUMERS,
        duplicate_window=stream.duplicate_window.total_seconds(),
        deny_delete=not stream.may_delete,
        deny_purge=not stream.may_purge,
        allow_rollup_hdrs=False,
        allow_direct=True,
        allow_atomic=True,
        metadata=metadata or None,
    )


async def make_stream(
    js: JetStreamContext,
    name: str,
    stream: Stream,
    *,
    max_age: timedelta | None = None,
    metadata: dict[str, str] | None = None,
) -> bool:
    """Create the stream, or correct it. Gives whether anything had to be done."""
    config = wanted(name, stream, metadata)
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
        if value is not None and field not in {"name", "metadata"}
    }
    has = {k: v for k, v in (found.metadata or {}).items() if not k.startswith("_nats.")}
    pairs["metadata"] = (has, config.metadata or {})
    protections = ("deny_delete", "deny_purge")
    return {
        field: (has, want)
        for field, (has, want) in pairs.items()
        if (has or None) != (want or None) and not (field in protections and has)
    }


async def make_durables(js: JetStreamContext, name: str, subscriber: Subscriber) -> None:
    """Create or correct a subscriber's durable on each stream it reads."""
    for stream in subscriber.streams:
        await make_durable(js, stream, name, subscriber)


async def make_durable(
    js: JetStreamContext, stream: str, name: str, subscriber: Subscriber
) -> None:
    """Create or correct a subscriber's durable: acknowledged one by one."""
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


async def make_consumer(js: JetStreamContext, consumer: Consumer) -> None:
    """Create or correct the consumer of one slot group: on disk, so that it outlives the server."""
    config = ConsumerConfig(
        name=consumer.name,
        durable_name=consumer.name,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.NONE,
        filter_subjects=list(consumer.filters) or None,
    )
    await js.add_consumer(consumer.stream, config)


async def provision_streams(
    js: JetStreamContext,
    plan: Plan,
    *,
    ages: dict[str, timedelta] | None = None,
    keep_strangers: bool = False,
) -> list[str]:
    """Make streams and consumers as declared, some with another `max_age`. Gives what changed.

    Consumers that are not declared are deleted; with `keep_strangers` only those of our readers
    are: the durables of subscribers stay while nobody knows which are declared.
    """
    changed = [
        name
        for name, stream in plan.streams.items()
        if await make_stream(
            js, name, stream, max_age=(ages or {}).get(name), metadata=_metadata(plan, name)
        )
    ]
    for name in plan.streams:
        changed += await _provision_consumers(js, plan, name, keep_strangers=keep_strangers)
    return changed


def _metadata(plan: Plan, stream: str) -> dict[str, str]:
    """Return how many slot groups each reader of the stream has: readers compare it with theirs."""
    readers = {consumer.service for consumer in plan.consumers() if consumer.stream == stream}
    return {groups_key(name): ",".join(map(str, plan.groups(name))) for name in sorted(readers)}


async def _provision_consumers(
    js: JetStreamContext, plan: Plan, stream: str, *, keep_strangers: bool
) -> list[str]:
    found = {info.name: info for info in await _consumers(js, stream)}
    ours = {each.name: each for each in plan.consumers() if each.stream == stream}
    subscribers = {n: s for n, s in plan.subscribers.items() if stream in s.streams}
    changed = []
    for name in found:
        if (
            name not in ours
            and name not in subscribers
            and not (keep_strangers and not _is_a_readers(plan, name))
        ):
            await _delete(js, stream, name)
            changed.append(f"{stream}/{name}")
    for name, consumer in ours.items():
        if name not in found or _other(found[name].config, consumer):
            if name in found:
                await _delete(js, stream, name)
            await make_consumer(js, consumer)
            changed.append(f"{stream}/{name}")
    for name, subscriber in subscribers.items():
        await make_durable(js, stream, name, subscriber)
    return changed


async def _consumers(js: JetStreamContext, stream: str) -> list[ConsumerInfo]:
    found: list[ConsumerInfo] = []
    while page := await js.consumers_info(stream, offset=len(found)):
        found += page
        if len(page) < PAGE:
            break
    return found


def _is_a_readers(plan: Plan, name: str) -> bool:
    """Whether it is of the form of our readers' consumers, or made by nobody who may."""
    return any(name.startswith(f"{service}-") for service in plan.services)


def _other(found: ConsumerConfig, consumer: Consumer) -> bool:
    """Whether a consumer is not what a reader needs."""
    filters = found.filter_subjects or ([found.filter_subject] if found.filter_subject else [])
    return (
        {*filters} != {*consumer.filters}
        or found.ack_policy != AckPolicy.NONE
        or found.deliver_subject is not None
        or found.deliver_policy not in {None, DeliverPolicy.ALL}
        or bool(found.mem_storage)
        or not found.durable_name
    )


async def _delete(js: JetStreamContext, stream: str, name: str) -> None:
    with suppress(NotFoundError):  # somebody else provisions, too
        await js.delete_consumer(stream, name)
