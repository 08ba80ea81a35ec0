"""The group-commit writer on real PostgreSQL: one winner per version, whatever happens to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest

from chassis.errors import NotReady, TooLarge
from chassis.testing import eventually
from tickets import store
from tickets.command_bus import ANSWERED, Command, Desk, KeyReused
from tickets.domain import decisions
from tickets.domain import events as e
from tickets.domain.request import FOLD, replay
from tickets.domain.rules import Graph, Rules, Topic
from tickets.group_commit import Line, Loader, Writer
from tickets.handlers import SAY
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
DRAFT = e.Opened("chat", "telegram", "main", MARIA, "", "", "", "", {}, HELLO)
HISTORY = "SELECT originator_version FROM tickets_events WHERE originator_id = %s ORDER BY 1"


@asynccontextmanager
async def working(*works: Any) -> AsyncGenerator[None]:
    """Run tasks beside a test."""
    tasks = [asyncio.create_task(work.run()) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def desks(world: World, count: int = 1) -> AsyncGenerator[list[Desk]]:
    """Open desks like those of as many replicas."""
    dsn = world.dsn("tickets")

    line = Line(dsn)

    async def answered(key: str) -> Any:
        return await (await (await line.get()).execute(ANSWERED, (key,))).fetchone()

    pairs = [(Loader(dsn), Writer(dsn, SAY)) for _ in range(count)]
    async with working(*(work for pair in pairs for work in pair)):
        yield [Desk(*pair, lambda: NOW, answered) for pair in pairs]
    await line.drop()


def opening(**more: Any) -> Command:
    return Command(uuid4(), lambda _: decisions.open_request(RULES, DRAFT), told, **more)


def noting(request_id: UUID, text: str, **more: Any) -> Command:
    return Command(request_id, lambda request: decisions.note(request, text, "anna"), told, **more)  # type: ignore[arg-type]


def told(request: Any) -> dict[str, Any]:
    return {"id": str(request.id), "version": request.version}


def change(request_id: UUID, seen: int, event: e.Event, **more: Any) -> Change:
    events = decisions.record(request_id, seen, (event,), {"time": NOW})
    opened = decisions.record(request_id, 0, decisions.open_request(RULES, DRAFT), {"time": NOW})
    request = replay(opened if not seen else [*opened, *events])
    return Change(request_id, seen, events if seen else opened, request, **more)


async def test_many_hands_on_few_requests_leave_gapless_histories(world: World) -> None:
    async with desks(world, 2) as (one, two):
        ids = [UUID((await one.take(opening()))["id"]) for _ in range(5)]
        jobs = [
            desk.take(noting(ids[n % 5], f"{n}", key=f"{n}", hash=b"same"))
            for n in range(100)
            for desk in (one, two)
        ]
        answers = await asyncio.gather(*jobs)

    assert max(Counter(str(answer) for answer in answers).values()) == 2  # both heard the same
    for id_ in ids:
        versions = [version for (version,) in await world.sql("tickets", HISTORY, id_)]
        assert versions == list(range(1, 22))


async def test_lost_connections_lose_and_double_nothing(world: World) -> None:
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename = 'tickets' AND datname = current_database()"
    )

    async def insist(desk: Desk, command: Command) -> None:
        while True:
            try:
                await desk.take(command)
            except psycopg.OperationalError:
                continue
            return

    async with desks(world) as (desk,):
        id_ = UUID((await desk.take(opening()))["id"])
        jobs = [
            asyncio.create_task(insist(desk, noting(id_, f"{n}", key=f"{n}", hash=b"")))
            for n in range(100)
        ]
        for _ in range(3):
            await asyncio.sleep(0)
            await world.sql("tickets", kill)
        await asyncio.gather(*jobs)

    async with await psycopg.AsyncConnection.connect(world.dsn("tickets")) as conn:
        assert (await store.load(conn, [id_]))[id_].version == 101


async def test_verdicts_do_not_spoil_each_other(world: World) -> None:
    one, two, three = uuid4(), uuid4(), uuid4()
    note = e.NoteAdded("x", "anna")
    async with await psycopg.AsyncConnection.connect(world.dsn("tickets"), autocommit=True) as conn:
        first = [change(one, 0, note, msg_id="k", hash=b"h", answer=b"{}"), change(two, 0, note)]
        assert await store.append(conn, SAY, first) == store.Verdicts()

        again = [
            change(three, 0, note, msg_id="k"),  # this key has been heard
            change(one, 3, note),  # nobody has seen version 3
            change(two, 1, note),
        ]
        verdicts = await store.append(conn, SAY, again)
        assert (verdicts.duplicates, verdicts.conflicts) == ({0}, {1})
        found = await store.load(conn, [one, two, three])
        assert {id_: request.version for id_, request in found.items()} == {one: 1, two: 2}


async def test_a_value_that_cannot_be_stored_fails_only_its_own_command(world: World) -> None:
    good = [opening() for _ in range(5)]
    bad = opening(key="a\x00b", hash=b"")
    desk_answers = []
    async with desks(world) as (desk,):
        desk._answered = _never  # type: ignore[method-assign]
        desk_answers = await asyncio.gather(
            *(desk.take(command) for command in [*good[:2], bad, *good[2:]]), return_exceptions=True
        )

    failed = [answer for answer in desk_answers if isinstance(answer, Exception)]
    assert len(failed) == 1
    assert isinstance(failed[0], psycopg.DataError)
    assert len(await world.sql("tickets", "SELECT 1 FROM requests")) == 5


async def test_what_no_message_can_carry_fails_only_its_own_command(world: World) -> None:
    async with desks(world) as (desk,):
        id_ = UUID((await desk.take(opening()))["id"])
        other = UUID((await desk.take(opening()))["id"])
        commands = [noting(other, "a"), noting(id_, "x" * 1_000_001), opening()]
        answers = await asyncio.gather(*map(desk.take, commands), return_exceptions=True)
        failed = [isinstance(answer, TooLarge) for answer in answers]

        assert failed == [False, True, False]
        assert (await desk.take(noting(id_, "x" * 900_000)))["version"] == 2


async def test_what_cannot_even_be_encoded_fails_only_its_own_command(world: World) -> None:
    """Nobody waits for ever, neither those in the same batch nor whoever comes to it later."""
    async with asyncio.timeout(10), desks(world) as (desk,):
        id_ = UUID((await desk.take(opening()))["id"])
        odd = [noting(id_, "\ud800"), opening(key="\ud800", hash=b"")]
        desk._answered = _never  # type: ignore[method-assign]
        answers = await asyncio.gather(
            *(desk.take(command) for command in [opening(), *odd, opening()]),
            return_exceptions=True,
        )
        later = await desk.take(noting(id_, "fine"))

    failed = [isinstance(answer, UnicodeEncodeError) for answer in answers]
    assert failed == [False, True, True, False], answers
    assert later["version"] == 2


async def test_what_cannot_be_read_fails_only_those_who_ask_for_it(world: World) -> None:
    async with asyncio.timeout(10), desks(world) as (desk,):
        ids = [UUID((await desk.take(opening()))["id"]) for _ in range(3)]
        await world.sql("tickets", "UPDATE requests SET snapshot = 'odd' WHERE id = %s", ids[1])
        answers = await asyncio.gather(
            *(desk.take(noting(id_, "x")) for id_ in ids), return_exceptions=True
        )

    failed = [isinstance(answer, Exception) for answer in answers]
    assert failed == [False, True, False], answers


async def test_who_waits_when_writing_ends_is_told(world: World) -> None:
    """Those whose batch is on its way, those behind them, and those who wait to load."""
    dsn = world.dsn("tickets")
    loader, writer = Loader(dsn), Writer(dsn, SAY)
    note = e.NoteAdded("x", "anna")
    held = "SELECT pg_advisory_xact_lock(%s)"
    waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with asyncio.timeout(10), await psycopg.AsyncConnection.connect(dsn) as conn:
        await conn.execute(held, (SAY,))
        task = asyncio.create_task(writer.run())
        id_ = uuid4()
        waiting = [asyncio.create_task(writer.append(change(id_, 0, note))) for _ in range(2)]
        await eventually(lambda: world.sql("tickets", waits))
        waiting.append(asyncio.create_task(writer.append(change(uuid4(), 0, note))))
        asked = asyncio.create_task(loader.get(id_))
        loading = asyncio.create_task(loader.run())
        await asyncio.sleep(0)
        for each in (task, loading):
            each.cancel()
        answers = await asyncio.gather(*waiting, asked, return_exceptions=True)

    assert [type(answer) for answer in answers] == [NotReady] * 4


async def _never(_: str) -> None:
    return None


async def test_a_key_is_for_one_command(world: World) -> None:
    async with desks(world) as (desk,):
        first = await desk.take(opening(key="k", hash=b"one"))

        assert await desk.take(opening(key="k", hash=b"one")) == first
        with pytest.raises(KeyReused):
            await desk.take(opening(key="k", hash=b"two"))


async def test_an_old_snapshot_is_not_believed(world: World) -> None:
    async with desks(world) as (desk,):
        id_ = UUID((await desk.take(opening()))["id"])
        await world.sql("tickets", "UPDATE requests SET fold = 0, snapshot = 'old'")

        assert (await desk.take(noting(id_, "x")))["version"] == 2

    found = await world.sql("tickets", "SELECT fold, version FROM requests")
    assert found == [(FOLD, 2)]


async def test_text_with_nul_is_kept_in_history(world: World) -> None:
    async with await psycopg.AsyncConnection.connect(world.dsn("tickets"), autocommit=True) as conn:
        id_ = uuid4()
        opened = decisions.record(
            id_, 0, decisions.open_request(RULES, _titled("a\x00b \\u0000")), {"time": NOW}
        )
        await store.append(conn, SAY, [Change(id_, 0, opened, replay(opened))])

        assert (await store.load(conn, [id_]))[id_].title == "a\x00b \\u0000"
    assert await world.sql("tickets", "SELECT title FROM requests") == [("ab \\u0000",)]


def _titled(title: str) -> e.Opened:
    return e.Opened(
        "chat", "telegram", "main", DRAFT.contact, title, "", "", "", {}, DRAFT.message
    )  # fmt: skip


async def test_the_primary_key_stands_behind_the_version_check(world: World) -> None:
    id_ = uuid4()
    async with await psycopg.AsyncConnection.connect(world.dsn("tickets"), autocommit=True) as conn:
        await store.append(conn, SAY, [change(id_, 0, e.NoteAdded("x", "anna"))])
        insert = (
            "INSERT INTO tickets_events (originator_id, originator_version, topic, state, slot)"
            " VALUES (%s, 1, 'x', '', 0)"
        )
        with pytest.raises(psycopg.errors.UniqueViolation):
            await conn.execute(insert, (id_,))
