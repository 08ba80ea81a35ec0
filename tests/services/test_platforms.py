"""Deliveries of all platforms on real servers: each item has one outcome."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from corpus import NOW, Case, cases, mutant
from knocking import DOORS, Door, door, environment, rotating

from chassis.testing import eventually
from trunkline_contracts import Contact, DeliveryRecorded, Message, ReplySent

if TYPE_CHECKING:
    import httpx
    from taking_in import Ingest
    from world import World

OUTCOMES = {"message": {"opened", "appended"}, None: {"rejected"}}
"""Outcomes of a new item by kind; None: an unreadable item. Other kinds are noted."""


@pytest.fixture
def workspace(world: World) -> str:
    """Return a workspace with secrets for every endpoint, and a mapping for telephony."""
    world.environment |= environment()
    return rotating()


def corpus(of: Door) -> list[Case]:
    """Return the samples of an endpoint, except those of other field mappings."""
    found = cases("custom" if of.name == "connectiveone" else of.name)
    return [case for case in found if "raw" not in case.told]


def case_of(name: str, stem: str) -> Case:
    return next(case for case in cases(name) if case.path.stem == stem)


def delivered(of: Door, case: Case, ingest: Ingest) -> Any:
    return of.knock(ingest.http, case.bytes())


def items_of(case: Case) -> list[tuple[str | None, str | None]]:
    """Return each item's kind and id; a delivery without items has one without both."""
    return [
        (None, None) if "unreadable" in item else (item["kind"], item.get("external_id"))
        for item in case.told.get("items") or [{"unreadable": ""}]
    ]


async def test_sample_of_every_type_has_the_outcome_of_its_kind(ingest: Ingest) -> None:
    """Each item of an accepted delivery has an outcome that fits its kind."""
    accepted: list[tuple[Door, Case, httpx.Response]] = []
    for of in DOORS:
        for case in corpus(of):
            answer = await delivered(of, case, ingest)
            if answer.status_code == 422:  # only a program is told at once, for it can mend it
                assert of.name == "connectiveone"
                assert "unreadable" in case.told
                continue
            assert answer.status_code == 200, case.name
            accepted.append((of, case, answer))
    ids = Counter((of.name, id) for of, case, _ in accepted for _, id in items_of(case))

    wrong, words = [], Counter[str]()
    for of, case, answer in accepted:
        told = (await ingest.outcome(answer))["items"]
        for (kind, id), item in zip(items_of(case), told, strict=True):
            words[item["outcome"]] += 1
            expected = OUTCOMES.get(kind, {"noted"})
            if id is not None and ids[of.name, id] > 1:
                expected = expected | {"duplicate"}
            if item["outcome"] not in expected:
                wrong.append((case.name, kind, id, item))
    assert not wrong
    assert len(accepted) > 300
    ledger = await ingest.ledger()
    assert (ledger["accepted"], ledger["balanced"]) == (len(accepted), True)
    assert ledger["outcomes"] == {**dict.fromkeys(ledger["outcomes"], 0), **words}


async def test_mutated_samples_keep_the_ledger_balanced(ingest: Ingest) -> None:
    """One mutant of every sample, delivered at once to all endpoints."""
    dice, few = random.Random(4), asyncio.Semaphore(16)
    bodies = [(of, mutant(case, dice)) for of in DOORS for case in corpus(of)]

    async def deliver(of: Door, body: bytes) -> int:
        async with few:
            return (await of.knock(ingest.http, body)).status_code

    answers = Counter(await asyncio.gather(*(deliver(*each) for each in bodies)))

    assert set(answers) <= {200, 422}
    assert answers[200] > 300
    ledger = await ingest.ledger()
    assert (ledger["accepted"], ledger["balanced"]) == (answers[200], True)
    assert ledger["outcomes"]["parked"] == 0


async def test_batch_with_a_bad_item_rejects_that_item_only(ingest: Ingest) -> None:
    case = case_of("whatsapp", "batch")
    told = await ingest.outcome(await delivered(door("whatsapp"), case, ingest))
    again = await ingest.outcome(await delivered(door("whatsapp"), case, ingest))

    refused = [item["reason"] for item in told["items"] if item["outcome"] == "rejected"]
    assert refused == [item["unreadable"] for item in case.told["items"] if "unreadable" in item]
    first, second = await ingest.said("request_opened")
    more = await ingest.said("message_received")
    assert [first["message"]["text"], second["message"]["text"]] == ["one", "two"]
    assert [each["message"]["text"] for each in more] == ["four", "five"]
    assert {each["request_id"] for each in more} == {first["request_id"]}
    assert {item["outcome"] for item in again["items"]} == {"duplicate", "rejected"}
    assert (await ingest.ledger())["balanced"]


async def test_id_used_again_for_another_message_is_flagged(ingest: Ingest) -> None:
    """Of every platform that names its messages; what was said before is not lost for it."""
    for of in DOORS:
        if of.name == "telephony":  # an event of a call is known by all it says
            continue
        text = of.case.told["items"][0]["text"]
        first = await ingest.outcome(await of.knock(ingest.http))
        other = of.case.bytes().replace(text.encode("ascii", "backslashreplace"), b"Something else")
        told = [await ingest.outcome(await of.knock(ingest.http, other)) for _ in range(2)]

        assert [each["outcome"] for each in told] == ["appended", "duplicate"], of.name
        assert "was used before for another message" in told[0]["reason"]
        assert {each["request_id"] for each in told} == {first["request_id"]}
        (received,) = [
            each
            for each in await ingest.said("message_received")
            if each["request_id"] == first["request_id"]
        ]
        assert received["message"]["text"] == "Something else"


async def test_contact_with_a_number_is_kept_when_whatsapp_sends_an_id(
    ingest: Ingest,
) -> None:
    """In the middle of a conversation; also when the number is hidden afterwards."""
    case = case_of("whatsapp", "text_with_number_and_user_id")
    told = []
    for n, hidden in enumerate(({"from_user_id"}, set(), {"from"}, {"from_user_id"})):
        body = copy.deepcopy(case.told["body"])
        (message,) = body["entry"][0]["changes"][0]["value"]["messages"]
        message["id"] = f"wamid.{n}"
        for name in hidden:
            del message[name]
        answer = await door("whatsapp").knock(ingest.http, json.dumps(body).encode())
        told.append(await ingest.outcome(answer))

    assert [each["outcome"] for each in told] == ["opened", *["appended"] * 3]
    assert len({each["request_id"] for each in told}) == 1
    people = await ingest.world.sql("ingest", "SELECT address, phone FROM contact")
    assert people == [("380501112233", "380501112233")]


# ------------------------------------------------------------------ Instagram, and ourselves


async def test_instagram_comments_and_stories_have_conversations(ingest: Ingest) -> None:
    """A comment's author has a conversation below it; a story is answered in direct messages."""

    async def come(stem: str) -> dict[str, Any]:
        case = case_of("instagram", stem)
        told: dict[str, Any] = await ingest.outcome(
            await delivered(door("instagram"), case, ingest)
        )
        return told

    comment, live, mention = [
        await come(each) for each in ("comment", "live_comment", "mention_in_a_comment")
    ]
    reply, story, words = [await come(each) for each in ("story_reply", "story_mention", "text")]

    opened = {each["request_id"]: each for each in await ingest.said("request_opened")}
    assert {each["outcome"] for each in (comment, live, mention, reply)} == {"opened"}
    assert len(opened) == 4
    for told, text, name in (
        (comment, "Is this one blue?", "FEED"), (mention, "[mention]", "media"),
        (reply, "Lovely!", "story"),
    ):  # fmt: skip
        message = opened[told["request_id"]]["message"]
        assert (message["text"], message["attachments"][0]["name"]) == (text, name)
    assert opened[comment["request_id"]]["contact"]["name"] == "annlee"
    assert [each["outcome"] for each in (story, words)] == ["appended", "appended"]
    assert {each["request_id"] for each in (story, words)} == {reply["request_id"]}


@pytest.mark.parametrize("open_", [False, True])
async def test_echo_of_our_own_message_is_noted(ingest: Ingest, *, open_: bool) -> None:
    """Neither where nothing is open nor where the customer's request is."""
    own = [
        (of, case)
        for of in DOORS
        for case in corpus(of)
        if case.path.stem.startswith(("echo", "comment_of_ours", "business_message_of_ours"))
    ]
    assert {of.name for of, _ in own} == {"telegram", "whatsapp", "messenger", "instagram"}
    talking = DOORS if open_ else ()
    for of in talking:
        await ingest.outcome(await of.knock(ingest.http))

    for of, case in own:
        told = await ingest.outcome(await delivered(of, case, ingest))
        assert (told["outcome"], told["request_id"]) == ("noted", None), case.name

    assert len(await ingest.said("request_opened")) == len(talking)
    assert await ingest.said("message_received") == []


# ------------------------------------------------------------------ receipts


class Written:
    """A message of ours in a request's conversation."""

    def __init__(self, ingest: Ingest, of: Door, request_id: str) -> None:
        self.ingest, self.of, self.request_id = ingest, of, UUID(request_id)
        self.id = uuid4()

    async def write(self, conversation: str) -> None:
        """Publish that the message was written, and wait until ingest knows it."""
        message = Message(id=self.id, text="On its way.", sent_at=NOW)
        reply = ReplySent(
            time=NOW, request_id=self.request_id, message=message, by="anna",
            channel=self.of.name, account="main", contact=Contact(id=uuid4()),
            conversation=conversation,
        )  # fmt: skip
        await self.ingest.tell(reply)
        await self._known("written_at")

    async def send(self, name: str) -> None:
        """Publish that the message was sent under the platform's id."""
        recorded = DeliveryRecorded(
            time=NOW, request_id=self.request_id, message_id=self.id, state="sent", platform_id=name
        )
        await self.ingest.tell(recorded)
        await self._known("sent_at")

    async def _known(self, column: str) -> None:
        async def there() -> bool:
            query = f"SELECT 1 FROM outgoing WHERE message_id = %s AND {column} IS NOT NULL"
            return bool(await self.ingest.world.sql("ingest", query, self.id))

        await eventually(there)


def whatsapp_status(state: str, **more: Any) -> dict[str, Any]:
    status = {"status": state, "timestamp": "1772442000", "recipient_id": "380501112233", **more}
    value = {"messaging_product": "whatsapp", "statuses": [status]}
    change = {"field": "messages", "value": value}
    return {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}


def messenger_event(customer: str, **more: Any) -> dict[str, Any]:
    event = {
        "sender": {"id": customer}, "recipient": {"id": "1"}, "timestamp": 1772442600000, **more,
    }  # fmt: skip
    return {"object": "page", "entry": [{"id": "1", "time": 1, "messaging": [event]}]}


async def test_receipt_of_every_platform_finds_our_message(ingest: Ingest) -> None:
    """By the id we gave it, by the platform's, or by the time until which all was read."""
    receipts: dict[str, Any] = {
        "whatsapp": lambda ours, name: (
            whatsapp_status("delivered", id=name, biz_opaque_callback_data=str(ours)),
            whatsapp_status("read", id=name),
        ),
        "messenger": lambda _, name: (
            messenger_event("4711000000000007", delivery={"mids": [name], "watermark": 1}),
            messenger_event("4711000000000007", read={"watermark": 1772442600000}),
        ),
        "viber": lambda _, name: (
            {"event": "delivered", "timestamp": 1772442000001, "message_token": int(name),
             "user_id": "h8pFn2yQzT1kLmN0aBcD4w=="},
            {"event": "seen", "timestamp": 1772442000002, "message_token": int(name),
             "user_id": "h8pFn2yQzT1kLmN0aBcD4w=="},
        ),
    }  # fmt: skip
    for channel, bodies in receipts.items():
        of, name = door(channel), "5741311803571729999"
        conversation = of.case.told["items"][0]["conversation"]
        first = await ingest.outcome(await of.knock(ingest.http))
        ours = Written(ingest, of, first["request_id"])
        await ours.write(conversation)
        await ours.send(name)

        for body in bodies(ours.id, name):
            told = await ingest.outcome(await of.knock(ingest.http, body))
            assert (told["outcome"], told["request_id"]) == ("noted", first["request_id"]), channel
        states = [
            each["state"]
            for each in await ingest.said("delivery_reported")
            if each["message_id"] == str(ours.id)
        ]
        assert states == ["delivered", "read"], channel


async def test_failed_delivery_is_reported_with_its_reason(ingest: Ingest) -> None:
    for channel, body in (
        ("whatsapp", whatsapp_status(
            "failed", id="m-1", errors=[{"code": 131047, "title": "Re-engagement message"}],
        )),
        ("viber", {
            "event": "failed", "timestamp": 1772442000001, "message_token": 71, "desc": "blocked",
            "user_id": "h8pFn2yQzT1kLmN0aBcD4w==",
        }),
    ):  # fmt: skip
        of = door(channel)
        first = await ingest.outcome(await of.knock(ingest.http))
        ours = Written(ingest, of, first["request_id"])
        await ours.write(of.case.told["items"][0]["conversation"])
        await ours.send("m-1" if channel == "whatsapp" else "71")
        await ingest.outcome(await of.knock(ingest.http, body))

        told = (await ingest.said("delivery_reported"))[-1]
        assert (told["message_id"], told["state"]) == (str(ours.id), "failed")
        assert told["reason"]
