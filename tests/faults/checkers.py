"""What must be true of the records after any fault. Pure: rows in, complaints out, none is well.

Every checker has a test in which the protection it stands for is taken out of the real code, and
in which it complains.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

ASSIGNED, UNASSIGNED, CLOSED = "request_assigned", "request_unassigned", "closed"


@dataclass(frozen=True, slots=True)
class Row:
    """A fact as its owner's outbox has it."""

    position: int
    key: str
    sequence: int
    name: str
    time: datetime
    data: Mapping[str, Any] = field(hash=False)
    id: str = ""
    """What it travels under: the header `Nats-Msg-Id`."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many requests an operator may have, in all and by channel."""

    all: int
    channels: Mapping[str, int] = field(default_factory=dict)


def gap_free(rows: Iterable[Row]) -> list[str]:
    """Every key's history counts 1, 2, 3 … in the order of positions."""
    last: Counter[str] = Counter()
    wrong = []
    for row in rows:
        if row.sequence != last[row.key] + 1:
            wrong.append(f"{row.key}: {row.sequence} ({row.name}) after {last[row.key]}")
        last[row.key] = row.sequence
    return wrong


def kept(accepted: Iterable[str], stored: Iterable[str]) -> list[str]:
    """Every delivery that was answered with a 2xx is there."""
    return [f"accepted and lost: {id_}" for id_ in set(accepted) - set(stored)]


def told_once(rows: Sequence[Row], stream: Sequence[str], ever: int | None = None) -> list[str]:
    """The stream holds the outbox: everything, once, in its order; a trimmed one its end.

    `ever` is how many messages the stream has had, those that were taken away included.
    """
    recorded = [row.id for row in rows]
    wrong = []
    if ever is not None:
        if ever != len(recorded):
            wrong.append(f"told {ever} times, and {len(recorded)} are recorded")
        recorded = recorded[max(len(recorded) - len(stream), 0) :]
    if recorded == list(stream):
        return wrong
    wrong += [f"never told: {id_}" for id_ in recorded if id_ not in set(stream)]
    wrong += [f"told {n} times: {id_}" for id_, n in Counter(stream).items() if n > 1]
    wrong += [f"nobody recorded: {id_}" for id_ in stream if id_ not in set(recorded)]
    return wrong or ["told in another order"]


def _deeds(routing: Iterable[Row], tickets: Iterable[Row]) -> Iterable[tuple[datetime, int, Row]]:
    """Both logs as one: at the same instant an ending comes first."""
    for row in tickets:
        if row.name == CLOSED:
            yield row.time, 0, row
    for row in routing:
        if row.name == UNASSIGNED:
            yield row.time, 1, row
        elif row.name == ASSIGNED:
            yield row.time, 2, row


def within_limits(
    routing: Iterable[Row],
    tickets: Iterable[Row],
    limits: Mapping[str, Limit],
    channels: Mapping[str, str],
) -> list[str]:
    """In no prefix of the log has an operator more than their limit. `channels` is by request."""
    holds: dict[str, set[str]] = defaultdict(set)
    ended: set[str] = set()
    wrong: list[str] = []
    deeds = sorted(_deeds(routing, tickets), key=lambda d: (d[0], d[1], d[2].position))
    for _, _, row in deeds:
        if row.name == CLOSED:
            ended.add(row.key)
            for held in holds.values():
                held.discard(row.key)
            continue
        operator = row.data["operator"]
        if row.name == UNASSIGNED:
            holds[operator].discard(row.key)
        elif row.key not in ended:
            holds[operator].add(row.key)
            wrong += _over(operator, holds[operator], limits[operator], channels, row)
    return wrong


def _over(
    operator: str, held: set[str], limit: Limit, channels: Mapping[str, str], row: Row
) -> Iterable[str]:
    if len(held) > limit.all:
        yield f"{operator} has {len(held)} of {limit.all} at position {row.position}"
    channel = channels.get(row.key, "")
    if channel in limit.channels:
        n = sum(channels.get(key) == channel for key in held)
        if n > limit.channels[channel]:
            yield f"{operator} has {n} on {channel} at position {row.position}"


def one_owner(routing: Iterable[Row]) -> list[str]:
    """A request is given to somebody only while nobody has it, and every time is counted."""
    owner: dict[str, str] = {}
    epoch: Counter[str] = Counter()
    wrong = []
    for row in routing:
        if row.name == ASSIGNED:
            if row.key in owner:
                wrong.append(f"{row.key}: {row.data['operator']} and {owner[row.key]} have it")
            if row.data["epoch"] != epoch[row.key] + 1:
                wrong.append(f"{row.key}: epoch {row.data['epoch']} after {epoch[row.key]}")
            owner[row.key], epoch[row.key] = row.data["operator"], row.data["epoch"]
        elif row.name == UNASSIGNED and owner.pop(row.key, None) != row.data["operator"]:
            wrong.append(f"{row.key}: taken from {row.data['operator']}, who did not have it")
    return wrong


def one_effect(delivered: Iterable[str], tickets: Iterable[Row]) -> list[str]:
    """Every message that was delivered stands in exactly one history, once. Texts are unique."""
    found = Counter(
        row.data["message"]["text"] for row in tickets if row.name in {"opened", "message_added"}
    )
    expected = set(delivered)
    wrong = [f"{text!r} has {found[text]} effects" for text in expected if found[text] != 1]
    return wrong + [f"nobody wrote {text!r}" for text in found.keys() - expected]


def one_fact(ingest: Iterable[Row], tickets: Iterable[Row]) -> list[str]:
    """One message is one fact, and one more for each time that tickets gave it back."""
    said = Counter(
        row.data["message"]["id"]
        for row in ingest
        if row.name in {"request_opened", "message_received"}
    )
    back = Counter(row.data["message"]["id"] for row in tickets if row.name == "message_returned")
    return [
        f"message {id_} was said {n} times and returned {back[id_]} times"
        for id_, n in said.items()
        if n != 1 + back[id_]
    ]


def one_open(rows: Iterable[Row]) -> list[str]:
    """A conversation has at most one open request at any place of the log, tickets' or ingest's."""
    open_: dict[tuple[str, ...], str] = {}
    where: dict[str, tuple[str, ...]] = {}
    wrong = []
    for row in rows:
        if row.name in {"opened", "request_opened"}:
            talk = tuple(str(row.data.get(n)) for n in ("channel", "account", "conversation"))
            if talk in open_:
                wrong.append(f"{row.key} was opened while {open_[talk]} was open in {talk}")
            open_[talk], where[row.key] = row.key, talk
        elif row.name == CLOSED:
            open_.pop(where[row.key], None)
    return wrong


def sent(replies: Mapping[str, str], arrived: Iterable[tuple[str, str]], crashes: int) -> list[str]:
    """Every reply (text by message id) arrived, once more per crash at most, under its id."""
    ids: dict[str, list[str]] = defaultdict(list)
    for text, id_ in arrived:
        ids[text].append(id_)
    wrong = []
    for id_, text in replies.items():
        if not 1 <= len(ids[text]) <= 1 + crashes:
            wrong.append(f"{text!r} arrived {len(ids[text])} times, with {crashes} crashes")
        if set(ids[text]) - {id_}:
            wrong.append(f"{text!r} arrived as {set(ids[text])}, not {id_}")
    return wrong + [f"nobody wrote {text!r}" for text in ids.keys() - set(replies.values())]


def once_each(rows: Iterable[Row], what: Mapping[str, Sequence[str]]) -> list[str]:
    """No fact is said twice: what tells one from another is given by its name."""
    said = Counter(
        (row.name, row.key, *(str(row.data[part]) for part in what[row.name]))
        for row in rows
        if row.name in what
    )
    return [f"{' '.join(one)} was said {n} times" for one, n in said.items() if n > 1]


def heard_once(rows: Sequence[Row], heard: Sequence[tuple[str, int]]) -> list[str]:
    """Everything said was applied once, and each key's in order. `heard` is (key, sequence)."""
    count = Counter(heard)
    wrong = [
        f"{row.key}/{row.sequence} was applied {count[row.key, row.sequence]} times"
        for row in rows
        if count[row.key, row.sequence] != 1
    ]
    last: Counter[str] = Counter()
    for key, sequence in heard:
        if sequence <= last[key] and count[key, sequence] == 1:
            wrong.append(f"{key}/{sequence} was applied after {last[key]}")
        last[key] = sequence
    return wrong
