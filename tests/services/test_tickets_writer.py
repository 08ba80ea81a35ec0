"""The command bus and its writer on real PostgreSQL: one change per version, under failures too."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from chassis.errors import NotReady, TooLarge
from chassis.testing import eventually
from tickets import store
from tickets.command_bus import SELECT_ANSWER, Command, CommandBus, KeyReused
from tickets.domain import events as e
from tickets.domain.commands import lifecycle, messages
from tickets.domain.request import SNAPSHOT_VERSION, Request, replay
from tickets.domain.rules import Graph, Rules, Topic
from tickets.group_commit import Loader, PersistentConnection, Writer
from tickets.handlers import APPEND_LOCK
from tickets.store import Change

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from world import World

NOW = datetime(2026, 11, 25, 9, tzinfo=UTC)
RULES = Rules(
    version=1,
    types={"chat": Graph("new", {"new": ("closed",)}, ("closed",))},
    topics={"general": Topic("first-line")},
    fields={},
    priorities=("medium",),
    type="chat",
    topic="general",
    priority="medium",
)
MARIA, HELLO = e.Contact(uuid4(), "Maria"), e.Message(uuid4(), "hi", NOW)
DRAFT = e.Opened(
    type="chat", channel="telegram", account="main", contact=MARIA, title="", topic="",
    priority="", status="", fields={}, message=HELLO,
)  # fmt: skip
HISTORY = "SELECT originator_version FROM tickets_events WHERE originator_id = %s ORDER BY 1"


@asynccontextmanager
async def working(*works: Any) -> AsyncGenerator[None]:
    """Run tasks while a test runs."""
    tasks = [asyncio.create_task(work.run()) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def buses(world: World, count: int = 1) -> AsyncGenerator[list[CommandBus]]:
    """Run as many command buses as there would be replicas."""
    dsn = world.dsn("tickets")

    line = PersistentConnection(dsn)

    async def answered(key: str) -> Any:
        return await (await (await line.get()).execute(SELECT_ANSWER, (key,))).fetchone()

    pairs = [(Loader(dsn), Writer(dsn, APPEND_LOCK)) for _ in range(count)]
    async with working(*(work for pair in pairs for work in pair)):
        yield [CommandBus(*pair, lambda: NOW, answered) for pair in pairs]
    await line.drop()


def opening(**more: Any) -> Command:
    return Command(uuid4(), lambda _: lifecycle.open_request(RULES, DRAFT), answer_of, **more)


def note(request_id: UUID, text: str, **more: Any) -> Command:
    def decide(request: Request | None) -> e.Events:
        assert request is not None
        return messages.note(request, text, "anna")

    return Command(request_id, decide, answer_of, **more)


def answer_of(request: Any) -> dict[str, Any]:
    return {"id": str(request.id), "version": request.version}


def change(request_id: UUID, seen: int, event: e.Event, **more: Any) -> Change:
    events = e.number(request_id, seen, (event,), {"time": NOW})
    opened = e.number(request_id, 0, lifecycle.open_request(RULES, DRAFT), {"time": NOW})
    request = replay(opened if not seen else [*opened, *events])
    return Change(request_id, seen, events if seen else opened, request, **more)


async def test_concurrent_commands_leave_gapless_histories(world: World) -> None:
    async with buses(world, 2) as (one, two):
        ids = [UUID((await one.execute(opening()))["id"]) for _ in range(5)]
        jobs = [
            bus.execute(note(ids[n % 5], f"{n}", key=f"{n}", hash=b"same"))
            for n in range(100)
            for bus in (one, two)
        ]
        answers = await asyncio.gather(*jobs)

    assert max(Counter(str(answer) for answer in answers).values()) == 2  # both got the same answer
    for id_ in ids:
        versions = [version for (version,) in await world.sql("tickets", HISTORY, id_)]
        assert versions == list(range(1, 22))


async def test_lost_connections_lose_and_repeat_nothing(world: World) -> None:
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename = 'tickets' AND datname = current_database()"
    )

    async def execute_until_done(bus: CommandBus, command: Command) -> None:
        while True:
            try:
                await bus.execute(command)
            except psycopg.OperationalError:
                continue
            return

    async with buses(world) as (bus,):
        id_ = UUID((await bus.execute(opening()))["id"])
        jobs = [
            asyncio.create_task(execute_until_done(bus, note(id_, f"{n}", key=f"{n}", hash=b"")))
            for n in range(100)
        ]
        for _ in range(3):
            await asyncio.sleep(0)
            await world.sql("tickets", kill)
        await asyncio.gather(*jobs)

    async with await psycopg.AsyncConnection.connect(world.dsn("tickets")) as conn:
        assert (await store.load(conn, [id_]))[id_].version == 101


async def test_rejected_changes_do_not_affect_others(world: World) -> None:
    one, two, three = uuid4(), uuid4(), uuid4()
    added = e.NoteAdded("x", "anna")
    async with await psycopg.AsyncConnection.connect(world.dsn("tickets"), autocommit=True) as conn:
        first = [change(one, 0, added, key="k", hash=b"h", answer=b"{}"), change(two, 0, added)]
        assert await store.append(conn, APPEND_LOCK, first) == store.RejectedChanges()

        again = [
            change(three, 0, added, key="k"),  # this key is recorded
            change(one, 3, added),  # the version is 1, not 3
            change(two, 1, added),
        ]
        verdicts = await store.append(conn, APPEND_LOCK, again)
        assert (verdicts.duplicates, verdicts.conflicts) == ({0}, {1})
        found = await store.load(conn, [one, two, three])
        assert {id_: request.version for id_, request in found.items()} == {one: 1, two: 2}


async def test_unstorable_value_fails_only_its_command(world: World) -> None:
    good = [opening() for _ in range(5)]
    bad = opening(key="a\x00b", hash=b"")
    async with buses(world) as (bus,):
        bus._find_answer = no_answer
        answers = await asyncio.gather(
            *(bus.execute(command) for command in [*good[:2], bad, *good[2:]]),
            return_exceptions=True,
        )

    failed = [answer for answer in answers if isinstance(answer, Exception)]
    assert len(failed) == 1
    assert isinstance(failed[0], psycopg.DataError)
    assert len(await world.sql("tickets", "SELECT 1 FROM requests")) == 5


async def test_too_large_event_fails_only_its_command(world: World) -> None:
    async with buses(world) as (bus,):
        id_ = UUID((await bus.execute(opening()))["id"])
        other = UUID((await bus.execute(opening()))["id"])
        commands = [note(other, "a"), note(id_, "x" * 1_000_001), opening()]
        answers = await asyncio.gather(*map(bus.execute, commands), return_exceptions=True)
        failed = [isinstance(answer, TooLarge) for answer in answers]

        assert failed == [False, True, False]
        assert (await bus.execute(note(id_, "x" * 900_000)))["version"] == 2


async def test_unencodable_text_fails_only_its_command(world: World) -> None:
    """Every waiter gets an outcome: those of the same batch and those of later ones."""
    async with asyncio.timeout(10), buses(world) as (bus,):
        id_ = UUID((await bus.execute(opening()))["id"])
        odd = [note(id_, "\ud800"), opening(key="\ud800", hash=b"")]
        bus._find_answer = no_answer
        answers = await asyncio.gather(
            *(bus.execute(command) for command in [opening(), *odd, opening()]),
            return_exceptions=True,
        )
        later = await bus.execute(note(id_, "fine"))

    failed = [isinstance(answer, UnicodeEncodeError) for answer in answers]
    assert failed == [False, True, True, False], answers
    assert later["version"] == 2


async def test_unreadable_request_fails_only_its_readers(world: World) -> None:
    async with asyncio.timeout(10), buses(world) as (bus,):
        ids = [UUID((await bus.execute(opening()))["id"]) for _ in range(3)]
        await world.sql("tickets", "UPDATE requests SET snapshot = 'odd' WHERE id = %s", ids[1])
        answers = await asyncio.gather(
            *(bus.execute(note(id_, "x")) for id_ in ids), return_exceptions=True
        )

    failed = [isinstance(answer, Exception) for answer in answers]
    assert failed == [False, True, False], answers


async def test_waiters_get_not_ready_when_writing_ends(world: World) -> None:
    """Waiters of the batch being written, of the next one, and of the loader."""
    dsn = world.dsn("tickets")
    loader, writer = Loader(dsn), Writer(dsn, APPEND_LOCK)
    added = e.NoteAdded("x", "anna")
    held = "SELECT pg_advisory_xact_lock(%s)"
    waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with asyncio.timeout(10), await psycopg.AsyncConnection.connect(dsn) as conn:
        await conn.execute(held, (APPEND_LOCK,))
        task = asyncio.create_task(writer.run())
        id_ = uuid4()
        waiting = [asyncio.create_task(writer.append(change(id_, 0, added))) for _ in range(2)]
        await eventually(lambda: world.sql("tickets", waits))
        waiting.append(asyncio.create_task(writer.append(change(uuid4(), 0, added))))
        loaded = asyncio.create_task(loader.get(id_))
        loading = asyncio.create_task(loader.run())
        await asyncio.sleep(0)
        for running in (task, loading):
            running.cancel()
        answers = await asyncio.gather(*waiting, loaded, return_exceptions=True)

    assert [type(answer) for answer in answers] == [NotReady] * 4


async def no_answer(_: str) -> None:
    return None


async def test_key_reused_for_other_command_is_refused(world: World) -> None:
    async with buses(world) as (bus,):
        first = await bus.execute(opening(key="k", hash=b"one"))

        assert await bus.execute(opening(key="k", hash=b"one")) == first
        with pytest.raises(KeyReused):
            await bus.execute(opening(key="k", hash=b"two"))


async def test_outdated_snapshot_is_rebuilt(world: World) -> None:
    async with buses(world) as (bus,):
        id_ = UUID((await bus.execute(opening()))["id"])
        await world.sql("tickets", "UPDATE requests SET fold = 0, snapshot = 'old'")

        assert (await bus.execute(note(id_, "x")))["version"] == 2

    found = await world.sql("tickets", "SELECT fold, version FROM requests")
    assert found == [(SNAPSHOT_VERSION, 2)]


async def test_text_with_nul_is_kept_in_history(world: World) -> None:
    async with await psycopg.AsyncConnection.connect(world.dsn("tickets"), autocommit=True) as conn:
        id_ = uuid4()
        opened = e.number(
            id_,
            0,
            lifecycle.open_request(RULES, msgspec.structs.replace(DRAFT, title="a\x00b \\u0000")),
            {"time": NOW},
        )
        await store.append(conn, APPEND_LOCK, [Change(id_, 0, opened, replay(opened))])

        assert (await store.load(conn, [id_]))[id_].title == "a\x00b \\u0000"
    assert await world.sql("tickets", "SELECT title FROM requests") == [("ab \\u0000",)]


async def test_primary_key_backs_the_version_check(world: World) -> None:
    id_ = uuid4()
    async with await psycopg.AsyncConnection.connect(world.dsn("tickets"), autocommit=True) as conn:
        await store.append(conn, APPEND_LOCK, [change(id_, 0, e.NoteAdded("x", "anna"))])
        insert = (
            "INSERT INTO tickets_events (originator_id, originator_version, topic, state, slot)"
            " VALUES (%s, 1, 'x', '', 0)"
        )
        with pytest.raises(psycopg.errors.UniqueViolation):
            await conn.execute(insert, (id_,))
