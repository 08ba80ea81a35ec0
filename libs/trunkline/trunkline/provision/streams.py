"""Streams: made as declared, and corrected when somebody changed them; then their consumers."""

from datetime import timedelta
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from chassis.messaging.resuming import HOLD_KEY
from chassis.messaging.slots import groups_key
from trunkline.provision.consumers import provision_consumers
from trunkline.provision.plan import Plan, Stream

FOR_GOOD = ("storage", "retention")
"""What the server cannot change in a stream that exists."""

MAX_CONSUMERS = 256
"""Of one stream: four services in sixteen groups, and subscribers."""


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
    held = {HOLD_KEY: has[HOLD_KEY]} if HOLD_KEY in has else {}
    pairs["metadata"] = (has, (config.metadata or {}) | held)
    protections = ("deny_delete", "deny_purge")
    return {
        field: (has, want)
        for field, (has, want) in pairs.items()
        if (has or None) != (want or None) and not (field in protections and has)
    }


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
        changed += await provision_consumers(js, plan, name, keep_strangers=keep_strangers)
    return changed


def _metadata(plan: Plan, stream: str) -> dict[str, str]:
    """Return how many slot groups each reader of the stream has: readers compare it with theirs."""
    readers = {consumer.service for consumer in plan.consumers() if consumer.stream == stream}
    return {groups_key(name): ",".join(map(str, plan.groups(name))) for name in sorted(readers)}
