"""`trunkline tail`: follows the facts of the domain streams, as a user that may only read."""

from __future__ import annotations

import asyncio
import heapq
import os
import re
import stat
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

import nats.errors
from nats.js.errors import Error as JetStreamError

from chassis.bus import Line
from chassis.outcomes import NotReady
from chassis.pull import Pull
from trunkline.facts import Seen
from trunkline.instance import Instance
from trunkline.places import CannotStart
from trunkline_contracts import BY_NAME

USER = "tail"
STREAMS = tuple(dict.fromkeys(name.split(".")[1].upper() for name in BY_NAME))
ALL, NOW = "all", "now"
ANSWERS_WITHIN, AGAIN = 5.0, 0.3
AHEAD = 512
"""Facts of a stream held ready while an older one of another stream goes first."""

_ID = re.compile(r"[0-9a-f-]{4,36}")


@dataclass(frozen=True)
class Wanted:
    """Which facts are to be seen, from where on."""

    streams: tuple[str, ...]
    types: tuple[str, ...]
    """Names of facts; none means all, those of later versions too."""
    requests: tuple[str, ...]
    """Ids of requests, or their first digits; none means all."""
    since: str = NOW

    @classmethod
    def asked(
        cls, streams: Sequence[str], globs: Sequence[str], requests: Sequence[str], since: str
    ) -> Wanted:
        """Check what somebody typed; a refusal names what is allowed."""
        chosen = tuple(dict.fromkeys(name.upper() for name in streams)) or ("TICKETS",)
        for name in chosen:
            if name not in STREAMS:
                raise CannotStart(f"no stream is called {name!r}: it is one of {_said(STREAMS)}")
        if since not in {ALL, NOW} and not (since.isascii() and since.isdecimal()):
            raise CannotStart(f"--since {since}: say {ALL}, {NOW} or a sequence of the stream")
        for one in requests:
            if not _ID.fullmatch(one):
                raise CannotStart(f"--request {one}: not an id, nor the first digits of one")
        return cls(chosen, _types(chosen, globs), tuple(requests), since)

    def filters(self, stream: str) -> list[str]:
        """Give the subjects to hear of a stream: type, slot, key."""
        service = stream.lower()
        of_type = [name for name in self.types if name.split(".")[1] == service]
        whole = self.requests and all(len(one) == 36 for one in self.requests)
        return [
            f"{name}.*.{key}"
            for name in of_type or [f"trunkline.{service}.*.*"]
            for key in (self.requests if whole else ["*"])
        ]

    def fits(self, seen: Seen) -> bool:
        """Whether it is about one of the requests: subjects cannot be asked for by first digits."""
        return not self.requests or seen.key.startswith(self.requests)


def _types(streams: Sequence[str], globs: Sequence[str]) -> tuple[str, ...]:
    known = [name for name in BY_NAME if name.split(".")[1].upper() in streams]
    found: dict[str, None] = {}
    for glob in globs:
        fit = [n for n in known if fnmatchcase(n, glob) or fnmatchcase(n.rpartition(".")[2], glob)]
        if not fit:
            allowed = _said(name.rpartition(".")[2] for name in known)
            raise CannotStart(f"no fact of {_said(streams)} is called {glob!r}: {allowed}")
        found |= dict.fromkeys(fit)
    streams_left = {name.split(".")[1].upper() for name in found}
    if found and (idle := [name for name in streams if name not in streams_left]):
        raise CannotStart(f"{_said(idle)} has no fact called {_said(globs)}")
    return tuple(found)


def _said(names: Iterable[str]) -> str:
    return ", ".join(names)


class Source:
    """One stream's facts, in order. It outlives its server, and goes on behind what it has seen."""

    def __init__(self, line: Line, stream: str, wanted: Wanted) -> None:
        self._line, self._stream, self._wanted = line, stream, wanted
        self._next, self._position = 1, 0
        self._created: datetime | None = None
        self.queue: asyncio.Queue[Seen | None] = asyncio.Queue(AHEAD)
        """What was seen; None stands once where the past ends."""

    async def begin(self) -> None:
        """Settle where to begin."""
        info = await self._line.js.stream_info(self._stream)
        self._created = info.created
        since = self._wanted.since
        self._next = {ALL: 1, NOW: info.state.last_seq + 1}.get(since) or max(1, int(since))

    async def run(self) -> None:
        """Hear, for ever."""
        past = True
        while True:
            with suppress(NotReady, nats.errors.Error, JetStreamError, OSError, TimeoutError):
                await self._look()
                filters = self._wanted.filters(self._stream)
                async with Pull(
                    self._line, self._stream, filters, self._next, own_positions=False
                ) as pull:
                    while True:
                        await self._take(pull)
                        if past and await pull.caught_up():
                            past = False
                            await self.queue.put(None)
            await asyncio.sleep(AGAIN)

    async def _look(self) -> None:
        """Begin anew in a stream that was made anew: positions tell what was seen already."""
        created = (await self._line.js.stream_info(self._stream)).created
        if created != self._created:
            self._created, self._next = created, 1

    async def _take(self, pull: Pull) -> None:
        for item in await pull.take(AHEAD, 0.25):
            self._next = item.stream_sequence + 1
            if item.position is not None and item.position <= self._position:
                continue
            self._position = item.position or self._position
            seen = Seen.of(self._stream, item)
            if self._wanted.fits(seen):
                await self.queue.put(seen)


@asynccontextmanager
async def following(instance: Instance, wanted: Wanted) -> AsyncGenerator[AsyncGenerator[Seen]]:
    """Follow facts: the past of all streams by time, then each as it comes."""
    creds = Path(os.environ.get("NATS_CREDS_DIR") or instance.creds)
    if not (creds / f"{USER}.nk").exists():
        raise CannotStart(f"{creds} knows no user {USER!r}: start the instance again")
    line = Line(instance.nats_url, USER, creds, USER)
    sources = [Source(line, stream, wanted) for stream in wanted.streams]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(line.close)
        try:
            await asyncio.wait_for(line.broker.connect(), ANSWERS_WITHIN)
            for source in sources:
                await source.begin()
        except (OSError, TimeoutError, nats.errors.Error, JetStreamError) as why:
            raise CannotStart(f"NATS does not answer at {instance.nats_url}: {why!r}") from None
        tasks = [asyncio.create_task(source.run()) for source in sources]
        for task in tasks:
            stack.push_async_callback(_ended, task)
        yield await stack.enter_async_context(aclosing(_merged(sources)))


async def _merged(sources: Sequence[Source]) -> AsyncGenerator[Seen]:
    heads: list[tuple[datetime, int, Seen]] = []

    async def advance(number: int) -> None:
        seen = await sources[number].queue.get()
        if seen is not None:
            heapq.heappush(heads, (seen.time, number, seen))

    for number in range(len(sources)):
        await advance(number)
    while heads:
        _, number, seen = heapq.heappop(heads)
        yield seen
        await advance(number)
    async with aclosing(_as_they_come([source.queue for source in sources])) as present:
        async for seen in present:
            yield seen


async def _as_they_come(queues: Sequence[asyncio.Queue[Seen | None]]) -> AsyncGenerator[Seen]:
    waits = {asyncio.ensure_future(queue.get()): queue for queue in queues}
    try:
        while True:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in done:
                queue = waits.pop(wait)
                waits[asyncio.ensure_future(queue.get())] = queue
                if (seen := wait.result()) is not None:
                    yield seen
    finally:
        for wait in waits:
            wait.cancel()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def tail(instance: Instance, wanted: Wanted, *, as_json: bool, count: int | None) -> None:
    """Print facts until Ctrl-C, until nobody reads any more, or until there were enough."""

    def show(seen: Seen) -> None:
        line = seen.wire.decode() if as_json else seen.line()
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        asyncio.run(_while_read(_follow(instance, wanted, show, count)))
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        # nobody reads: what is left in the buffer goes nowhere, without a complaint at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _follow(
    instance: Instance, wanted: Wanted, show: Callable[[Seen], None], count: int | None
) -> None:
    shown = 0
    async with following(instance, wanted) as facts:
        async for seen in facts:
            show(seen)
            shown += 1
            if shown == count:
                return


async def _while_read(work: Coroutine[None, None, None]) -> None:
    """Work until somebody closes the pipe we write to; that is noticed before the next fact."""
    task = asyncio.create_task(work)
    out, unread = sys.stdout.fileno(), []

    def left() -> None:
        asyncio.get_running_loop().remove_reader(out)
        unread.append(True)
        task.cancel()

    if stat.S_ISFIFO(os.fstat(out).st_mode):
        asyncio.get_running_loop().add_reader(out, left)
    try:
        await task
    except asyncio.CancelledError:
        if not unread:
            raise
