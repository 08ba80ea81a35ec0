"""Meta's batches: one bad update costs nothing but itself, and what comes again is the same."""

from __future__ import annotations

import copy
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from corpus import NOW, Case, cases, places, shown

from ingest.channels import registry
from ingest.channels.meta import webhook
from ingest.domain.field_rules import Rules
from ingest.domain.intake_batch import Arrival, Book
from ingest.domain.items import Item, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RULES = Rules("chat", "general", frozenset({"chat"}), frozenset({"low"}), {"general": {}})
CHANNELS = ("whatsapp", "messenger", "instagram")
BATCHES = [case for channel in CHANNELS for case in cases(channel) if case.path.stem == "batch"]
UPDATES = ("messages", "statuses", "errors", "messaging", "changes", "entry", "value")
GARBAGE: tuple[Any, ...] = (None, 0, "text", [], {}, [[]], {"id": []}, {"id": "x", "type": 17})


def read(case: Case, body: Any) -> Sequence[registry.Read]:
    return registry.read(case.raw(json.dumps(body).encode()))


def updates(value: Any) -> Iterator[tuple[list[Any], int]]:
    """Give every update of a batch: the list it stands in, and its place there."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        if key in UPDATES and isinstance(inner, list):
            yield from ((inner, n) for n in range(len(inner)))
        for each in inner if isinstance(inner, list) else [inner]:
            yield from updates(each)


def gist(items: Sequence[registry.Read]) -> Counter[str]:
    """Sum items up, without where the unreadable ones stood."""
    return Counter(
        str(shown([item])) if isinstance(item, Item) else str(item).rpartition(": ")[2]
        for item in items
    )


@pytest.mark.parametrize("case", BATCHES, ids=lambda case: case.channel)
def test_one_bad_update_costs_nothing_but_itself(case: Case) -> None:
    body = case.told["body"]
    places = len(list(updates(body)))
    whole = gist(read(case, body))
    assert places > 5

    for place in range(places):
        without, spoiled = copy.deepcopy(body), copy.deepcopy(body)
        inner, n = list(updates(without))[place]
        own = inner.pop(n)
        rest = gist(read(case, without))
        inner, n = list(updates(spoiled))[place]
        for garbage in GARBAGE:
            inner[n] = garbage
            left = gist(read(case, spoiled))
            told = {item for item in rest if item.startswith("[{")}

            assert rest.total() <= whole.total(), own
            assert not [item for item in told if left[item] < rest[item]], (place, garbage)
            assert left.total() >= rest.total() - 1  # an empty list's complaint may be gone


def test_an_update_too_deep_is_refused_alone() -> None:
    case = next(case for case in cases("whatsapp") if case.path.stem == "text")
    body = copy.deepcopy(case.told["body"])
    messages = body["entry"][0]["changes"][0]["value"]["messages"]
    deep: Any = {}
    for _ in range(900):
        deep = {"a": deep}
    messages.append({**messages[0], "id": "wamid.deep", "text": deep})
    messages.append({**messages[0], "id": "wamid.next"})

    first, *between, last = read(case, body)

    assert (first.external_id, last.external_id) == (messages[0]["id"], "wamid.next")
    assert len(between) == 1


def test_more_updates_than_the_platform_sends_are_refused() -> None:
    case = next(case for case in cases("whatsapp") if case.path.stem == "text")
    body = copy.deepcopy(case.told["body"])
    value = body["entry"][0]["changes"][0]["value"]
    value["messages"] = value["messages"] * webhook.MOST
    assert len(read(case, body)) == webhook.MOST
    value["messages"] += value["messages"][:1]

    with pytest.raises(Unreadable, match="more than 5000"):
        read(case, body)


def words(*deliveries: Sequence[registry.Read], channel: str) -> list[str]:
    """Take deliveries in, one after another."""
    book = Book(RULES, NOW)
    for number, items in enumerate(deliveries):
        book.take_in(
            Arrival(f"00000000-0000-4000-8000-{number:012}", n, channel, "main", NOW, item)
            for n, item in enumerate(items)
            if isinstance(item, Item)
        )
    return [outcome.word for outcome in book.outcomes]


@pytest.mark.parametrize("channel", CHANNELS)
def test_whatever_comes_again_is_a_duplicate(channel: str) -> None:
    counted = 0
    for case in cases(channel):
        items = registry.read(case.raw()) if "items" in case.told else ()
        readable = [item for item in items if isinstance(item, Item)]
        told = words(readable, readable, channel=channel)
        counted += len(readable)

        assert told[len(readable) :] == ["duplicate"] * len(readable), case.name
        assert "duplicate" not in told[: len(readable)], case.name
    assert counted > 30


def signed_anew(value: Any) -> tuple[Any, int]:
    """Give a body with other addresses wherever nobody wrote them, and how many those are."""
    value, count = copy.deepcopy(value), 0
    for *way, key in places(value):
        inner = value
        for step in way:
            inner = inner[step]
        written = key in {"body", "caption", "text", "title"}
        written |= isinstance(inner, dict) and inner.get("type") == "url"
        if isinstance(inner[key], str) and inner[key].startswith("https://") and not written:
            inner[key] = inner[key].replace("https://", "https://again.")
            count += 1
    return value, count


@pytest.mark.parametrize("channel", [*CHANNELS, "viber"])
def test_an_address_signed_anew_does_not_make_a_message_another(channel: str) -> None:
    counted = 0
    for case in cases(channel):
        body, count = signed_anew(case.told["body"])
        if "items" not in case.told or not count:
            continue
        counted += 1
        before = [each for each in registry.read(case.raw()) if isinstance(each, Item)]
        again = registry.read(case.raw(case.bytes(body)))

        told = words(before, again, channel=channel)
        assert told[len(before) :] == ["duplicate"] * len(before), case.name
    assert counted > 3


def test_an_address_somebody_sent_is_what_they_said() -> None:
    case = next(case for case in cases("viber") if case.path.stem == "message_url")
    other = case.bytes().replace(b"https://", b"https://again.")

    told = words(registry.read(case.raw()), registry.read(case.raw(other)), channel="viber")
    assert told == ["opened", "appended"]


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_same_id_with_other_words_is_another_message(channel: str) -> None:
    case = next(case for case in cases(channel) if case.path.stem == "text")
    before = registry.read(case.raw())
    assert isinstance(before[0], Item)
    text = case.bytes().decode().replace(before[0].text, "Something else")

    assert words(before, registry.read(case.raw(text.encode())), channel=channel) == [
        "opened", "appended",
    ]  # fmt: skip


@pytest.mark.parametrize("channel", CHANNELS)
def test_our_own_words_never_open_a_request(channel: str) -> None:
    own = [case for case in cases(channel) if "echo" in case.name or "ours" in case.name]
    assert own

    for case in own:
        assert words(registry.read(case.raw()), channel=channel) == ["noted"], case.name
