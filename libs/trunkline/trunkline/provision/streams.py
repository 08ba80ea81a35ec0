"""Create streams and their consumers as declared and correct those that differ."""

from datetime import timedelta
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from chassis.messaging.resuming import HOLD_KEY
from chassis.messaging.slots import groups_key
from trunkline.provision.consumers import provision_consumers
from trunkline.provision.plan import Plan, Stream

IMMUTABLE_FIELDS = ("storage", "retention")
"""Settings the server cannot change in an existing stream."""

MAX_CONSUMERS_PER_STREAM = 256
"""Enough for four services with sixteen slot groups each, and subscribers."""


def stream_config(
    name: str, stream: Stream, metadata: dict[str, str] | None = None
) -> StreamConfig:
    """Return the declared configuration of a stream."""
    return StreamConfig(
        name=name,
        subjects=list(stream.subjects),
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_bytes=int(stream.max_bytes),
        max_age=stream.max_age.total_seconds(),
        max_msgs=-1,
        max_consumers=MAX_CONSUMERS_PER_STREAM,
        duplicate_window=stream.duplicate_window.total_seconds(),
        deny_delete=not stream.may_delete,
        deny_purge=not stream.may_purge,
        allow_rollup_hdrs=False,
        allow_direct=True,
        allow_atomic=True,
        metadata=metadata or None,
    )


async def provision_stream(
    js: JetStreamContext,
    name: str,
    stream: Stream,
    *,
    max_age: timedelta | None = None,
    metadata: dict[str, str] | None = None,
) -> bool:
    """Create or correct a stream; return True if anything changed.

    Raises `RuntimeError` if it differs in a setting that cannot be changed.
    """
    config = stream_config(name, stream, metadata)
    if max_age is not None:
        config = config.evolve(max_age=max_age.total_seconds())
    try:
        current = (await js.stream_info(name)).config
    except NotFoundError:
        await js.add_stream(config)
        return True
    drift = _drift(current, config)
    for field in IMMUTABLE_FIELDS:
        if field in drift:
            raise RuntimeError(
                f"stream {name}: {field} is {drift[field][0]!r} and must be {drift[field][1]!r},"
                " which no update can change: delete the stream and provision again"
            )
    if not drift:
        return False
    # The server cannot remove a protection that was added manually, and it does no harm.
    protections = {f: True for f in ("deny_delete", "deny_purge") if getattr(current, f)}
    await js.update_stream(
        current.evolve(**{f: want for f, (_, want) in drift.items()} | protections)
    )
    return True


def _drift(current: StreamConfig, config: StreamConfig) -> dict[str, tuple[Any, Any]]:
    pairs = {
        field: (getattr(current, field), value)
        for field, value in vars(config).items()
        if value is not None and field not in {"name", "metadata"}
    }
    has = {k: v for k, v in (current.metadata or {}).items() if not k.startswith("_nats.")}
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
    keep_unknown: bool = False,
) -> list[str]:
    """Create or correct streams and consumers; return the names of those that changed.

    `ages` overrides the declared `max_age` of streams. Undeclared consumers are deleted. With
    `keep_unknown`, only those of readers are deleted: the subscribers are not known then.
    """
    changed = [
        name
        for name, stream in plan.streams.items()
        if await provision_stream(
            js, name, stream, max_age=(ages or {}).get(name), metadata=_metadata(plan, name)
        )
    ]
    for name in plan.streams:
        changed += await provision_consumers(js, plan, name, keep_unknown=keep_unknown)
    return changed


def _metadata(plan: Plan, stream: str) -> dict[str, str]:
    """Return the numbers of slot groups per reading service, which readers compare with READERS."""
    readers = {consumer.service for consumer in plan.consumers() if consumer.stream == stream}
    return {groups_key(name): ",".join(map(str, plan.groups(name))) for name in sorted(readers)}
