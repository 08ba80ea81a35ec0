"""ConnectiveOne's payload on a custom channel, beside our own form."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from chassis.web.problems import Problem
from ingest.channels import registry
from ingest.domain.items import InboundItem, Person, RawDelivery, Unreadable
from ingest.gateway.endpoints import check_connectiveone_update

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def update(text: str = "Де моє замовлення?", **more: Any) -> dict[str, Any]:
    sender = {
        "id": "u-7", "first_name": "", "last_name": "", "username": "iryna", "phone": "+380501",
        "language_code": "uk", "is_bot": False, "channel": "viber", "dialog_name": "Ірина",
    }  # fmt: skip
    message = {"from": sender, "chat": {"id": "u-7_viber"}, "date": 1772441000500, "text": text}
    return {"update_id": 123456789, "message": {**message, "type": "text", **more}}


def read(body: Any) -> InboundItem:
    (item,) = registry.read(RawDelivery("custom", "acme", "0", json.dumps(body).encode(), NOW))
    return item


def test_a_message() -> None:
    item = read(update())

    assert item == InboundItem(
        "message", "update:123456789", item.digest, conversation="u-7_viber",
        person=Person("u-7", "Ірина", "uk", phone="+380501"), text="Де моє замовлення?",
        sent_at=datetime(2026, 3, 2, 8, 43, 20, 500000, tzinfo=UTC), platform_id="123456789",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("/start", "noted"),
        (" /start ", "noted"),
        ("/start order-17", "noted"),
        ("/started?", "message"),
        ("Hello /start", "message"),
    ],
)
def test_start_asks_nothing(text: str, kind: str) -> None:
    assert read(update(text)).kind == kind


def test_ids_may_be_numbers() -> None:
    body = update(**{"from": {"id": 7, "first_name": "A", "last_name": "B"}, "chat": {}})

    item = read(body)

    assert (item.conversation, item.person) == ("7", Person("7", "A B"))


def test_what_is_no_text_is_kept_with_a_placeholder() -> None:
    assert read(update("", type="photo")).text == "[photo]"
    assert read({"update_id": 5, "event": {}}).kind == "noted"


@pytest.mark.parametrize(
    "body",
    [
        {"update_id": None, "message": {}},
        {"update_id": 1, "message": {}},
        {"update_id": 1, "message": {"from": {"id": {}}}},
    ],
)
def test_what_cannot_be_answered_says_why(body: Any) -> None:
    with pytest.raises(Unreadable, match="missing"):
        read(body)


def test_our_own_form_is_read_as_before() -> None:
    item = read({"id": "m-1", "text": "hello", "contact": {"id": "u-7"}, "update_id": 1})

    assert item.external_id == "m-1"


def test_the_door_says_whose_form_it_is() -> None:
    """Else the body tells: our own form names a contact."""
    both = {**update(), "contact": {"id": "c-7"}, "id": "m-1", "text": "Hello"}
    raw = RawDelivery("custom", "acme", "0", json.dumps(both).encode(), NOW)

    (guessed,), (told,) = registry.read(raw), registry.read(replace(raw, form="connectiveone"))

    assert isinstance(guessed, InboundItem)
    assert isinstance(told, InboundItem)
    assert (guessed.text, told.text) == ("Hello", "Де моє замовлення?")


@pytest.mark.parametrize("deep", [100, 300, *range(950, 1_010)])
def test_however_deep_it_is_its_sender_is_told_at_once(deep: int) -> None:
    body = json.dumps(update()).replace("{", '{"x":' + "[" * deep + "]" * deep + ",", 1).encode()

    with contextlib.suppress(Problem):
        check_connectiveone_update(body)
        registry.read(RawDelivery("custom", "acme", "0", body, NOW, form="connectiveone"))
