"""Making messages what they mean, where that may take long: begun in order, given in order.

What takes long is begun for all messages of a batch at once, and goes on while those before it are
applied. It is done once, however often what it gives is tried: also when a database was away.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from inspect import isawaitable
from typing import Any, TypeAlias

from chassis.errors import TRANSIENT
from chassis.messaging.message import StreamMessage

ParseResult: TypeAlias = tuple[Any, str | None]
"""What a message is, or why it cannot be understood."""
StartedParse: TypeAlias = asyncio.Task[ParseResult] | ParseResult
MessageId: TypeAlias = tuple[bool, int | None, str]


class MessageParser:
    """What has been begun of a reader's messages. `progress` is called whenever one is done."""

    def __init__(self, parse: Callable[[StreamMessage], Any], progress: Callable[[], None]) -> None:
        self._parse = parse
        self._progress = progress
        self._started: dict[MessageId, StartedParse] = {}

    async def parse_all(self, items: Iterable[StreamMessage]) -> list[ParseResult]:
        """Understand each, however long that takes."""
        found = [self._start(item) for item in items]
        slow = [each for each in found if isinstance(each, asyncio.Task)]
        if slow:
            await asyncio.gather(*slow)
        return [each.result() if isinstance(each, asyncio.Task) else each for each in found]

    async def count_parsed(self, items: Sequence[StreamMessage], patience: float) -> int:
        """Say how many are understood, from the first on, within so many seconds: one at least."""
        loop = asyncio.get_running_loop()
        found = [self._start(item, keep=True) for item in items]
        until = loop.time() + patience
        for number, each in enumerate(found):
            if isinstance(each, asyncio.Task) and not each.done():
                left = max(until - loop.time(), 0) if number else None
                await asyncio.wait({each}, timeout=left)
                if not each.done():
                    return number
        return len(found)

    def forget(self, items: Iterable[StreamMessage]) -> None:
        """Let go of what has been applied."""
        for item in items:
            self._started.pop(_id_of(item), None)

    async def aclose(self) -> None:
        """Stop whatever has been begun."""
        begun, self._started = self._started, {}
        tasks = [each for each in begun.values() if isinstance(each, asyncio.Task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, item: StreamMessage, *, keep: bool = False) -> StartedParse:
        known = self._started.get(_id_of(item))
        if known is not None and not _has_failed(known):
            return known
        begun: StartedParse
        try:
            thing = self._parse(item)
        except Exception as why:  # noqa: BLE001 (whatever it broke)
            begun = None, describe(why)
        else:
            begun = thing, None
            if isawaitable(thing):
                begun = asyncio.ensure_future(_await_result(thing))
                begun.add_done_callback(lambda _: self._progress())
                keep = True
        if keep:
            self._started[_id_of(item)] = begun
        return begun


def _id_of(item: StreamMessage) -> MessageId:
    return item.was_deferred, item.position, item.key


def _has_failed(begun: StartedParse) -> bool:
    """Whether something was away that it needed: it is begun anew."""
    return (
        isinstance(begun, asyncio.Task)
        and begun.done()
        and (begun.cancelled() or begun.exception() is not None)
    )


async def _await_result(thing: Awaitable[Any]) -> ParseResult:
    try:
        return await thing, None
    except TRANSIENT:
        raise
    except Exception as why:  # noqa: BLE001 (whatever it broke)
        return None, describe(why)


def describe(why: BaseException) -> str:
    """Give a reason a person can read: the kind of error and its first line."""
    text = str(why).strip().splitlines()
    return f"{type(why).__name__}: {text[0] if text else ''}"[:500]
