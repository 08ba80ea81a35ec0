"""Create the consumers of readers and subscribers as declared, and delete others.

Readers may not create consumers: the right to do so would allow publishing to any subject.
"""

import re
from contextlib import suppress

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import NotFoundError

from chassis.messaging.slots import Consumer
from trunkline.provision.plan import Plan, Subscriber

ACK_WAIT = 30.0
PAGE = 256
"""Consumers the server lists in one answer."""


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


async def provision_consumers(
    js: JetStreamContext, plan: Plan, stream: str, *, keep_strangers: bool
) -> list[str]:
    """Make a stream's consumers as declared, and delete others. Return what changed.

    With `keep_strangers` only readers' consumers are deleted.
    """
    found = {info.name: info for info in await _consumers(js, stream)}
    ours = {consumer.name: consumer for consumer in plan.consumers() if consumer.stream == stream}
    subscribers = {n: s for n, s in plan.subscribers.items() if stream in s.streams}
    changed = []
    for name in found.keys() - ours.keys() - subscribers.keys():
        if not keep_strangers or _is_a_readers(plan, name):
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
    """Return whether a name is that of a reader's consumer, for any number of slot groups."""
    return any(re.fullmatch(rf"{service}-.+-\d\d-\d\d", name) for service in plan.services)


def _other(found: ConsumerConfig, consumer: Consumer) -> bool:
    """Return whether a consumer differs from what a reader needs."""
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
    with suppress(NotFoundError):  # another provisioner deleted it
        await js.delete_consumer(stream, name)
