"""Create, correct and delete the consumers of readers and subscribers as declared.

Readers and subscribers may not create consumers themselves: that right would allow them to make the
server publish to any subject (ADR 0019).
"""

import re
from contextlib import suppress

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import NotFoundError

from chassis.messaging.slots import Consumer
from trunkline.provision.plan import Plan, Subscriber

ACK_WAIT_S = 30.0
MAX_ACK_PENDING = 1000
PAGE_SIZE = 256
"""Consumers the server lists in one response."""


async def make_durables(js: JetStreamContext, name: str, subscriber: Subscriber) -> None:
    """Create or correct the durables of a subscriber, one per stream."""
    for stream in subscriber.streams:
        await make_durable(js, stream, name, subscriber)


async def make_durable(
    js: JetStreamContext, stream: str, name: str, subscriber: Subscriber
) -> None:
    """Create or correct a durable of a subscriber, which acknowledges each message."""
    prefixes = (await js.stream_info(stream)).config.subjects or []
    filters = [f for f in subscriber.filters if _within(f, prefixes)]
    config = ConsumerConfig(
        name=name,
        durable_name=name,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_S,
        max_ack_pending=MAX_ACK_PENDING,
        filter_subjects=filters or None,
    )
    await js.add_consumer(stream, config)


def _within(filter_: str, subjects: list[str]) -> bool:
    return any(filter_.startswith(subject.removesuffix(">")) for subject in subjects)


async def make_consumer(js: JetStreamContext, consumer: Consumer) -> None:
    """Create the consumer of a slot group, stored on disk so that it survives a server restart."""
    config = ConsumerConfig(
        name=consumer.name,
        durable_name=consumer.name,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.NONE,
        filter_subjects=list(consumer.filters) or None,
    )
    await js.add_consumer(consumer.stream, config)


async def provision_consumers(
    js: JetStreamContext, plan: Plan, stream: str, *, keep_unknown: bool
) -> list[str]:
    """Create and correct the declared consumers of a stream; delete all others.

    With `keep_unknown`, only undeclared consumers of readers are deleted. Return the
    consumers that changed as `stream/name`.
    """
    current = {info.name: info for info in await _list_consumers(js, stream)}
    declared = {
        consumer.name: consumer for consumer in plan.consumers() if consumer.stream == stream
    }
    subscribers = {n: s for n, s in plan.subscribers.items() if stream in s.streams}
    changed = []
    for name in current.keys() - declared.keys() - subscribers.keys():
        if not keep_unknown or _belongs_to_reader(plan, name):
            await _delete(js, stream, name)
            changed.append(f"{stream}/{name}")
    for name, consumer in declared.items():
        if name not in current or _differs(current[name].config, consumer):
            if name in current:
                await _delete(js, stream, name)
            await make_consumer(js, consumer)
            changed.append(f"{stream}/{name}")
    for name, subscriber in subscribers.items():
        await make_durable(js, stream, name, subscriber)
    return changed


async def _list_consumers(js: JetStreamContext, stream: str) -> list[ConsumerInfo]:
    found: list[ConsumerInfo] = []
    while page := await js.consumers_info(stream, offset=len(found)):
        found += page
        if len(page) < PAGE_SIZE:
            break
    return found


def _belongs_to_reader(plan: Plan, name: str) -> bool:
    """Return True if the name is that of a reader's consumer, for any number of slot groups."""
    return any(re.fullmatch(rf"{service}-.+-\d\d-\d\d", name) for service in plan.services)


def _differs(current: ConsumerConfig, consumer: Consumer) -> bool:
    """Return True if a consumer differs from what its reader needs."""
    filters = current.filter_subjects or (
        [current.filter_subject] if current.filter_subject else []
    )
    return (
        {*filters} != {*consumer.filters}
        or current.ack_policy != AckPolicy.NONE
        or current.deliver_subject is not None
        or current.deliver_policy not in {None, DeliverPolicy.ALL}
        or bool(current.mem_storage)
        or not current.durable_name
    )


async def _delete(js: JetStreamContext, stream: str, name: str) -> None:
    with suppress(NotFoundError):  # another process may be provisioning too
        await js.delete_consumer(stream, name)
