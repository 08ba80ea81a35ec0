"""Parse messages concurrently; results are returned in order.

Slow parsing starts for all messages of a batch at once, and goes on while earlier messages are
applied. Each message is parsed once, however often applying it is retried.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from inspect import isawaitable
from typing import Any, TypeAlias

from chassis.errors import TRANSIENT
from chassis.messaging.message import StreamMessage

ParseResult: TypeAlias = tuple[Any, str | None]
"""The parsed body, or the reason why it cannot be parsed."""
StartedParse: TypeAlias = asyncio.Task[ParseResult] | ParseResult
MessageId: TypeAlias = tuple[bool, int | None, str]


class MessageParser:
    """Parses a reader's messages. `progress` is called when a slow one is done."""

    def __init__(self, parse: Callable[[StreamMessage], Any], progress: Callable[[], None]) -> None:
        self._parse = parse
        self._progress = progress
        self._started: dict[MessageId, StartedParse] = {}

    async def parse_all(self, items: Iterable[StreamMessage]) -> list[ParseResult]:
        """Parse all messages, however long that takes; return the results in order."""
        parses = [self._start(item) for item in items]
        tasks = [parse for parse in parses if isinstance(parse, asyncio.Task)]
        if tasks:
            await asyncio.gather(*tasks)
        return [parse.result() if isinstance(parse, asyncio.Task) else parse for parse in parses]

    async def count_parsed(self, items: Sequence[StreamMessage], parse_timeout: float) -> int:
        """Return how many of the first messages are parsed within `parse_timeout` s; at least 1."""
        loop = asyncio.get_running_loop()
        parses = [self._start(item, keep=True) for item in items]
        deadline = loop.time() + parse_timeout
        for number, parse in enumerate(parses):
            if isinstance(parse, asyncio.Task) and not parse.done():
                left = max(deadline - loop.time(), 0) if number else None
                await asyncio.wait({parse}, timeout=left)
                if not parse.done():
                    return number
        return len(parses)

    def forget(self, items: Iterable[StreamMessage]) -> None:
        """Drop the results of messages that have been applied."""
        for item in items:
            self._started.pop(_id_of(item), None)

    async def aclose(self) -> None:
        """Cancel the parsing that has started."""
        started, self._started = self._started, {}
        tasks = [parse for parse in started.values() if isinstance(parse, asyncio.Task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, item: StreamMessage, *, keep: bool = False) -> StartedParse:
        existing = self._started.get(_id_of(item))
        if existing is not None and not _has_failed(existing):
            return existing
        started: StartedParse
        try:
            body = self._parse(item)
        except Exception as why:  # noqa: BLE001 (the message is parked with the reason)
            started = None, describe(why)
        else:
            started = body, None
            if isawaitable(body):
                started = asyncio.ensure_future(_await_result(body))
                started.add_done_callback(lambda _: self._progress())
                keep = True
        if keep:
            self._started[_id_of(item)] = started
        return started


def _id_of(item: StreamMessage) -> MessageId:
    return item.was_deferred, item.position, item.key


def _has_failed(started: StartedParse) -> bool:
    """Return whether parsing ended with a transient error: it is started again."""
    return (
        isinstance(started, asyncio.Task)
        and started.done()
        and (started.cancelled() or started.exception() is not None)
    )


async def _await_result(body: Awaitable[Any]) -> ParseResult:
    try:
        return await body, None
    except TRANSIENT:
        raise
    except Exception as why:  # noqa: BLE001 (the message is parked with the reason)
        return None, describe(why)


def describe(why: BaseException) -> str:
    """Return a reason for people: the class of the error and the first line of its message."""
    text = str(why).strip().splitlines()
    return f"{type(why).__name__}: {text[0] if text else ''}"[:500]
