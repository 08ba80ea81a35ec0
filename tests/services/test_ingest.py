"""ingest on real servers: the door, one effect per message, one open request, the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from taking_in import NOW, SECRET, Ingest, update
from telling import Teller

from chassis.testing import eventually
from ingest.app import make
from ingest.channels import registry
from ingest.settings import Settings
from trunkline_contracts import Closed, Contact, Message, MessageReturned, Opened
from trunkline_contracts.ids import contact_id

if TYPE_CHECKING:
    import httpx
    from world import World

    from ingest.domain.items import RawDelivery


async def test_a_message_opens_and_the_next_is_appended(ingest: Ingest) -> None:
    accepted = await ingest.post(update(1))
    assert (accepted.status_code, list(accepted.json())) == (200, ["inbound_id"])
    first = await ingest.outcome(accepted)
    second = await ingest.outcome(await ingest.post(update(2, text="again")))
    again = await ingest.outcome(await ingest.post(update(1)))

    assert (first["outcome"], second["outcome"], again["outcome"]) == (
        "opened", "appended", "duplicate",
    )  # fmt: skip
    assert first["request_id"] == second["request_id"] == again["request_id"]
    assert (first["threaded_by"], second["threaded_by"]) == ("new", "conversation")
    (opened,) = await ingest.said("request_opened")
    assert (opened["channel"], opened["account"], opened["conversation"]) == (
        "telegram", "main", "7",
    )  # fmt: skip
    assert opened["contact"]["name"] == "Customer 7"
    assert (opened["topic"], opened["type"], opened["message"]["text"]) == (
        "general", "chat", "hello",
    )  # fmt: skip
    ledger = await ingest.ledger()
    assert (ledger["accepted"], ledger["taken_in"], ledger["balanced"]) == (3, 3, True)
    assert ledger["outcomes"] == {
        "opened": 1, "appended": 1, "noted": 0, "duplicate": 1, "rejected": 0, "parked": 0,
    }  # fmt: skip


async def test_what_the_broker_no_longer_remembers_is_still_known(ingest: Ingest) -> None:
    """The same delivery stored again after the stream's window, and the platform's repetition."""
    first = await ingest.outcome(await ingest.post(update(1)))
    nc = await ingest.world.as_admin()
    js = nc.jetstream()
    config = (await js.stream_info("INBOUND")).config
    await js.update_stream(config.evolve(duplicate_window=0.1))
    raw = await js.get_msg("INBOUND", 1)

    async def stored_again() -> bool:
        return not (await js.publish(raw.subject, raw.data, headers=raw.headers)).duplicate

    await eventually(stored_again)
    again = await ingest.outcome(await ingest.post(update(1)))
    await nc.close()

    assert (first["outcome"], again["outcome"]) == ("opened", "duplicate")
    assert again["request_id"] == first["request_id"]
    ledger = await ingest.ledger()
    assert ledger["balanced"]
    assert await ingest.stored() == 3
    assert [len(await ingest.said(kind)) for kind in ("request_opened", "message_received")] == [
        1,
        0,
    ]


@pytest.mark.parametrize("secret", [None, "", "wrong", "telegram-secre", "telegram-secret "])
async def test_the_unknown_leave_no_trace(
    ingest: Ingest, secret: str | None, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    answer = await ingest.post(update(1, text="a word nobody may read"), secret)

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert await ingest.stored() == 0
    assert (await ingest.ledger())["accepted"] == 0
    assert "nobody may read" not in caplog.text + "".join(capfd.readouterr())


async def test_an_account_without_a_secret_is_a_closed_door(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_MAIN_SECRET", "")
    assert (await ingest.post(update(1), "")).status_code == 401
    monkeypatch.delenv("TELEGRAM_MAIN_SECRET")
    assert (await ingest.post(update(1))).status_code == 401
    assert (
        await ingest.http.post("/channels/telegram/other", json={}, headers={SECRET: "x"})
    ).status_code == 401
    assert await ingest.stored() == 0


async def test_two_secrets_live_while_one_replaces_the_other(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from world import EXAMPLE

    monkeypatch.setenv("TELEGRAM_NEXT", "next-secret")
    text = EXAMPLE.read_text()
    both = "secret: [env:TELEGRAM_MAIN_SECRET, env:TELEGRAM_NEXT]"
    await ingest.world.apply(text.replace("secret: env:TELEGRAM_MAIN_SECRET", both))

    async def accepted() -> bool:
        return (await ingest.post(update(1), "next-secret")).status_code == 200

    await eventually(accepted)
    assert (await ingest.post(update(1))).status_code == 200


async def test_unknown_update_is_rejected_with_a_reason(
    ingest: Ingest,
) -> None:
    bodies = [b"", b"not json", b"[]", b"\xff", b"{}", b'{"update_id": 1, "message": {}}']

    for body in bodies:
        told = await ingest.outcome(await ingest.post(body))
        assert (told["outcome"], bool(told["reason"])) == ("rejected", True)

    ledger = await ingest.ledger()
    assert (ledger["outcomes"]["rejected"], ledger["balanced"]) == (len(bodies), True)
    assert len(await ingest.said("message_rejected")) == len(bodies)


async def test_a_body_may_not_be_too_large(ingest: Ingest) -> None:
    answer = await ingest.post(b" " * (256 * 1024 + 1))

    assert answer.status_code == 413
    assert (await ingest.post(b" " * (256 * 1024))).status_code == 200


async def test_the_rate_of_an_account_is_limited(ingest: Ingest) -> None:
    from world import EXAMPLE

    slow = EXAMPLE.read_text().replace("per_account: 1000/s", "per_account: 60/min")
    version = await ingest.world.apply(slow)

    async def limited() -> httpx.Response | None:
        answer = await ingest.post(update(1))
        return answer if answer.status_code == 429 else None

    answer = await eventually(limited)
    assert answer is not None
    assert version > 1
    assert answer.headers["retry-after"] == "1"
    assert (await ingest.submit({"text": "x", "contact": {}})).status_code == 202


class TestApi:
    async def test_a_submission(self, ingest: Ingest) -> None:
        body = {
            "text": "Where is it?",
            "contact": {"id": "c-1", "name": "Ann"},
            "title": "Order",
            "topic": "billing",
            "priority": "high",
            "fields": {"order_no": "123456"},
            "type": "ticket",
        }
        accepted = await ingest.submit(body)
        told = await ingest.outcome(accepted)

        assert accepted.status_code == 202
        assert told["outcome"] == "opened"
        (opened,) = await ingest.said("request_opened")
        assert {name: opened[name] for name in ("title", "topic", "priority", "type")} == {
            "title": "Order", "topic": "billing", "priority": "high", "type": "ticket",
        }  # fmt: skip
        assert (opened["channel"], opened["account"], opened["topic_by"]) == (
            "api", "shop", "client",
        )  # fmt: skip
        assert opened["fields"] == {"order_no": "123456"}

    async def test_a_key_repeated_and_a_key_reused(self, ingest: Ingest) -> None:
        body = {"text": "once", "contact": {}}
        first = await ingest.outcome(await ingest.submit(body, "k-1"))
        again = await ingest.outcome(await ingest.submit(body, "k-1"))
        other = await ingest.outcome(await ingest.submit({**body, "text": "twice"}, "k-1"))
        foreign = await ingest.outcome(await ingest.submit(body, "k-1", subject="another"))

        assert [each["outcome"] for each in (first, again, other, foreign)] == [
            "opened", "duplicate", "rejected", "opened",
        ]  # fmt: skip
        assert again["request_id"] == first["request_id"]
        assert "another body" in other["reason"]

    async def test_a_conversation_has_one_open_request(self, ingest: Ingest) -> None:
        body = {"text": "x", "contact": {"id": "c"}, "conversation": "thread 1"}
        first = await ingest.outcome(await ingest.submit(body))
        second = await ingest.outcome(await ingest.submit(body))
        alone = await ingest.outcome(await ingest.submit({"text": "x", "contact": {"id": "c"}}))

        assert [each["outcome"] for each in (first, second, alone)] == [
            "opened", "appended", "opened",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("body", "at"),
        [
            ({}, "text"),
            ({"text": "x"}, "contact"),
            ({"text": "x", "contact": {"id": {}}}, "contact.id"),
            ({"text": "x", "contact": {}, "topic": "no such"}, "topic"),
            ({"text": "x", "contact": {}, "priority": "no such"}, "priority"),
            ({"text": "x", "contact": {}, "type": "no such"}, "type"),
            ({"text": "x", "contact": {}, "fields": {"x": 1}}, "fields.x"),
            ({"text": "x", "contact": {}, "topic": "billing", "fields": {"amount": -1}},
             "fields.amount"),
        ],
    )  # fmt: skip
    async def test_a_value_that_cannot_be_taken_is_named(
        self, ingest: Ingest, body: Any, at: str
    ) -> None:
        answer = await ingest.submit(body)

        assert answer.status_code == 422
        assert at in {error["at"] for error in answer.json()["errors"]}
        assert await ingest.stored() == 0

    async def test_who_may(self, ingest: Ingest) -> None:
        body = {"text": "x", "contact": {}}
        for role, status in (
            ("integrator", 202), ("administrator", 202), ("operator", 202), ("supervisor", 202),
            ("analyst", 403), ("light_agent", 403),
        ):  # fmt: skip
            assert (await ingest.submit(body, role=role)).status_code == status
        assert (await ingest.http.post("/v1/requests", json=body)).status_code == 401

    async def test_integrators_see_their_own(self, ingest: Ingest) -> None:
        accepted = await ingest.submit({"text": "x", "contact": {}})
        await ingest.outcome(accepted)
        path = f"/v1/inbound/{accepted.json()['inbound_id']}"

        def as_(role: str, subject: str) -> dict[str, str]:
            return ingest.world.token(role, subject=subject)

        assert (await ingest.http.get(path, headers=as_("integrator", "shop"))).status_code == 200
        assert (await ingest.http.get(path, headers=as_("integrator", "other"))).status_code == 404
        assert (await ingest.http.get(path, headers=as_("operator", "shop"))).status_code == 403
        for subject, accepted_ in (("shop", 1), ("other", 0)):
            own = await ingest.http.get("/v1/ledger", headers=as_("integrator", subject))
            assert own.json()["accepted"] == accepted_

    async def test_ids_never_issued_are_not_found(self, ingest: Ingest) -> None:
        for id in (uuid4(), UUID(int=0)):
            answer = await ingest.http.get(f"/v1/inbound/{id}", headers=ingest.boss)
            assert answer.status_code == 404

    def test_the_addresses_are_documented(self, ingest: Ingest) -> None:
        paths = make(ingest.world.settings("ingest", Settings)).openapi()["paths"]

        assert {"/channels/telegram/{account}", "/v1/requests", "/v1/inbound/{inbound_id}"} <= set(
            paths
        )
        assert {"202", "401", "413", "422", "429", "503"} <= set(
            paths["/v1/requests"]["post"]["responses"]
        )


class TestClosing:
    async def test_after_closing_the_next_message_opens_a_follow_up(self, ingest: Ingest) -> None:
        first = await ingest.outcome(await ingest.post(update(1)))
        await ingest.close(first["request_id"])
        second = await ingest.outcome(await ingest.post(update(2)))

        assert (second["outcome"], second["threaded_by"]) == ("opened", "follow_up")
        assert (await ingest.said("request_opened"))[-1]["follow_up_of"] == first["request_id"]

    async def test_a_message_that_lost_the_race_opens_the_follow_up(self, ingest: Ingest) -> None:
        """Tickets closed before it heard the message: it comes back, and its outcome changes."""
        first = await ingest.outcome(await ingest.post(update(1)))
        accepted = await ingest.post(update(2, text="late"))
        late = await ingest.outcome(accepted)
        assert late["outcome"] == "appended"
        (received,) = await ingest.said("message_received")
        message = Message.model_validate(received["message"])
        id = UUID(first["request_id"])

        await ingest.tell(
            Closed(time=NOW, request_id=id, resolution="done", by="operator", status="closed"),
            MessageReturned(time=NOW, request_id=id, message=message, reason="closed"),
        )

        corrected = await ingest.outcome(accepted, corrected=True)
        again = await ingest.outcome(await ingest.post(update(2, text="late")))
        follow_up = (await ingest.said("request_opened"))[-1]
        assert (corrected["outcome"], corrected["request_id"]) == (
            "opened", follow_up["request_id"],
        )  # fmt: skip
        assert (follow_up["follow_up_of"], follow_up["message"]["text"]) == (str(id), "late")
        assert follow_up["contact"]["name"] == "Customer 7"
        assert again["request_id"] == corrected["request_id"]
        assert (await ingest.ledger())["balanced"]

    async def test_messages_and_returns_at_once_open_one_follow_up(self, ingest: Ingest) -> None:
        first = await ingest.outcome(await ingest.post(update(1)))
        late = [await ingest.outcome(await ingest.post(update(n))) for n in range(2, 7)]
        assert {each["outcome"] for each in late} == {"appended"}
        id = UUID(first["request_id"])
        returned = [
            MessageReturned(
                time=NOW, request_id=id, reason="closed",
                message=Message.model_validate(each["message"]),
            )
            for each in await ingest.said("message_received")
        ]  # fmt: skip

        closed = Closed(time=NOW, request_id=id, resolution="done", by="operator", status="closed")
        fresh = [ingest.post(update(n)) for n in range(10, 15)]
        await asyncio.gather(ingest.tell(closed, *returned), *fresh)

        async def all_moved() -> bool:
            rows = await ingest.world.sql(
                "ingest", "SELECT count(*) FROM item WHERE request_id = %s", id
            )
            opened = await ingest.said("request_opened")
            return len(opened) == 2 and rows[0][0] <= 6

        await eventually(all_moved)
        assert (await ingest.ledger())["balanced"]
        assert len(await ingest.said("request_opened")) == 2

    async def test_a_request_opened_over_tickets_is_written_to(self, ingest: Ingest) -> None:
        contact = Contact(id=contact_id("telegram", "main", "7"), address="7", name="Ann")
        opened = Opened(
            time=NOW, request_id=uuid4(), request_type="chat", channel="telegram", account="main",
            contact=contact, topic="general", priority="medium", status="new", conversation="7",
            message=Message(id=uuid4(), text="we write first", sent_at=NOW), origin="tickets",
        )  # fmt: skip
        await ingest.tell(opened)

        async def known() -> bool:
            return bool(await ingest.world.sql("ingest", "SELECT 1 FROM request"))

        await eventually(known)
        told = await ingest.outcome(await ingest.post(update(1)))

        assert (told["outcome"], told["request_id"]) == ("appended", str(opened.request_id))


async def test_an_adapter_that_fails_parks_its_delivery_alone(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = registry.PARSERS["telegram"]

    def failing(raw: RawDelivery) -> Any:
        if b"bomb" in raw.body:
            raise ZeroDivisionError
        return true(raw)

    monkeypatch.setattr(registry, "PARSERS", {"telegram": failing})
    accepted = await asyncio.gather(
        *(ingest.post(update(n, text="bomb" if n == 3 else "fine")) for n in range(6))
    )
    told = [await ingest.outcome(each) for each in accepted]

    assert Counter(each["outcome"] for each in told) == {"opened": 1, "appended": 4, "parked": 1}
    assert "ZeroDivisionError" in told[3]["reason"]
    ledger = await ingest.ledger()
    assert (ledger["outcomes"]["parked"], ledger["balanced"]) == (1, True)

    monkeypatch.setattr(registry, "PARSERS", {"telegram": true})
    (parked,) = (await ingest.http.get("/v1/parked", headers=ingest.boss)).json()["items"]
    await ingest.http.post(f"/v1/parked/{parked['id']}/redrive", headers=ingest.boss)

    async def taken_in() -> bool:
        return (await ingest.outcome(accepted[3]))["outcome"] == "appended"

    await eventually(taken_in)
    ledger = await ingest.ledger()
    assert (ledger["outcomes"]["parked"], ledger["balanced"]) == (0, True)


async def test_nats_away_is_503_within_three_seconds(ingest: Ingest) -> None:
    loop = asyncio.get_running_loop()
    ingest.world.nats.stop()

    began = loop.time()
    answers = await asyncio.gather(*(ingest.post(update(n)) for n in range(50)))

    assert loop.time() - began < 3
    assert {answer.status_code for answer in answers} == {503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers)


async def test_a_frozen_nats_is_503_within_three_seconds(ingest: Ingest) -> None:
    import os
    import signal

    loop = asyncio.get_running_loop()
    pid = ingest.world.nats.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        began = loop.time()
        answers = await asyncio.gather(*(ingest.post(update(n)) for n in range(250)))
        took = loop.time() - began
    finally:
        os.kill(pid, signal.SIGCONT)

    assert took < 3
    assert {answer.status_code for answer in answers} == {503}


async def test_everything_five_times_out_of_order_to_two_replicas(world: World) -> None:
    """Each delivery five times, in any order, to two replicas whose readers are split in two."""
    await world.apply()
    chats, messages = 20, 5
    sent = [
        update(chat * 100 + n, chat, f"{n}")
        for chat in range(1, chats + 1)
        for n in range(messages)
    ]
    deliveries = sent * 5
    random.Random(7).shuffle(deliveries)
    few = asyncio.Semaphore(25)
    async with Teller(world) as teller:
        it = Ingest(world, teller)
        await it.start(READERS="2")
        await it.start(READERS="2")

        async def deliver(body: Any, replica: int) -> None:
            """Send it as platforms do: again when it was not taken."""
            async with few:
                while (await it.post(body, replica=replica)).status_code != 200:
                    pass

        try:
            await asyncio.gather(*(deliver(each, n % 2) for n, each in enumerate(deliveries)))
            ledger = await it.ledger()
            opened, received = await it.said("request_opened"), await it.said("message_received")
        finally:
            await it.stop()

    assert ledger["accepted"] == ledger["taken_in"] >= len(deliveries)
    assert ledger["balanced"]
    assert len(opened) == chats
    assert len(opened) + len(received) == len(sent)
    texts = Counter(
        (fact["conversation"], fact["message"]["text"]) for fact in (*opened, *received)
    )
    assert set(texts.values()) == {1}


@pytest.mark.parametrize(
    "query",
    ["ENTRIES", "FIRSTS", "CONVERSATIONS", "CONTACTS", "REQUESTS", "AUTHORS", "ITEMS",
     "CUSTOMER_MESSAGES", "OWN", "OWN_UNTIL", "PENDING_UPDATES", "LOAD"],
)  # fmt: skip
async def test_what_is_known_is_found_by_index(world: World, query: str) -> None:
    """Also by a plan made once and kept, and made when the tables were empty."""
    from ingest.audit import queries
    from ingest.intake import alias_store, conversation_store, message_update_store

    rooms = (queries, conversation_store, message_update_store, alias_store)
    room = next(room for room in rooms if hasattr(room, query))
    parts = re.split("%[sbt]", getattr(room, query))
    text = "".join(f"{part}${n}" for n, part in enumerate(parts[:-1], 1)) + parts[-1]
    rows = await world.sql("ingest", f"EXPLAIN (GENERIC_PLAN) {text}")

    plan = "\n".join(line for (line,) in rows)
    assert "Index" in plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize("locked", [True, False])
async def test_what_is_read_under_a_lock_is_decided_once(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch, *, locked: bool
) -> None:
    """Two batches read a conversation at once: with the locks taken out, two requests open."""
    from ingest.intake import conversation_store

    load_entries, both = conversation_store.load_entries, asyncio.Barrier(2)

    async def load_together(*args: Any) -> None:
        await load_entries(*args)
        with contextlib.suppress(TimeoutError, asyncio.BrokenBarrierError):
            async with asyncio.timeout(1):
                await both.wait()

    async def no_lock(*_: object) -> None:
        return None

    monkeypatch.setattr(conversation_store, "load_entries", load_together)
    if not locked:
        monkeypatch.setattr(conversation_store, "lock", no_lock)
    await ingest.stop()
    await ingest.start(READERS="2")

    await asyncio.gather(*(ingest.post(update(n)) for n in range(20)))
    await ingest.ledger()

    opened = await ingest.said("request_opened")
    assert (len(opened) == 1) is locked
