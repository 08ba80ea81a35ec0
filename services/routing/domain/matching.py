"""Who may take a request, who takes it first, and why.

Longer than most rooms: eligibility, the methods and the matcher are one thought, and one is read
against the others. Nothing here knows a clock or a database.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

NEVER = datetime.min.replace(tzinfo=UTC)
"""When something happened that has not happened: before everything that has."""

SHOWN = 5
"""How many candidates a decision keeps with their scores; the others are only counted."""

Line = tuple[str, str, str, str | None]
"""Group, topic, channel, and who handed it back: requests of one line have the same candidates."""

_DECISIONS = UUID("2f0f4d0e-5a50-5f0c-9a52-0c4a4f1f6b57")
_NOBODYS = UUID(int=0)


class Status(StrEnum):
    """What an operator says of themselves; one who never said anything is offline."""

    ONLINE = "online"
    BUSY = "busy"
    AWAY = "away"
    OFFLINE = "offline"


class Bar(StrEnum):
    """Why an operator cannot have a request."""

    NOT_A_MEMBER = "not_a_member"
    NO_SKILL = "no_skill"
    OFFLINE = "offline"
    AWAY = "away"
    BUSY = "busy"
    HANDED_BACK = "handed_back"
    FULL = "full"
    CHANNEL_FULL = "channel_full"


@dataclass(frozen=True, slots=True)
class Person:
    """What the workspace says about an operator. No skills at all means every skill."""

    id: str
    name: str
    limit: int
    skills: Mapping[str, int] = field(default_factory=dict)
    channels: Mapping[str, int] = field(default_factory=dict)
    languages: tuple[str, ...] = ()
    quota: int | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Operators who share a queue, and how it is shared out. Unless automatic, people claim."""

    id: str
    members: frozenset[str]
    method: str = "default"
    automatic: bool = True


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the queue sees it. `epoch` counts its assignments; `avoid` handed it back."""

    id: UUID
    group: str
    topic: str
    channel: str
    weight: int
    created_at: datetime
    epoch: int = 0
    avoid: str | None = None
    trace: str | None = None

    @property
    def line(self) -> Line:
        """Where it waits."""
        return (self.group, self.topic, self.channel, self.avoid)


@dataclass(slots=True)
class Operator:
    """An operator at this moment."""

    person: Person
    status: Status = Status.OFFLINE
    load: int = 0
    channel_load: dict[str, int] = field(default_factory=dict)
    last_assigned: datetime = NEVER
    last_closed: datetime = NEVER
    id: str = field(init=False)

    def __post_init__(self) -> None:
        """An operator's id is the workspace's."""
        self.id = self.person.id

    def take(self, channel: str, at: datetime) -> None:
        """Have one request more."""
        self.load += 1
        self.channel_load[channel] = self.channel_load.get(channel, 0) + 1
        self.last_assigned = max(self.last_assigned, at)

    def release(self, channel: str, closed_at: datetime | None) -> None:
        """Have one request less; only a closing counts as the end of a dialog."""
        self.load -= 1
        self.channel_load[channel] = self.channel_load.get(channel, 0) - 1
        if closed_at is not None:
            self.last_closed = max(self.last_closed, closed_at)


@dataclass(frozen=True, slots=True)
class Decision:
    """Who got a request, or that nobody could, and what spoke for and against whom."""

    request: Request
    operator: str | None
    method: str
    considered: tuple[dict[str, Any], ...]
    able: int
    excluded: Mapping[str, int]

    @property
    def epoch(self) -> int:
        """The assignment this decision made; without one, the last there was."""
        return self.request.epoch + (self.operator is not None)

    @property
    def id(self) -> UUID:
        """Derived, so that a decision taken again is the same one."""
        kind = "waits" if self.operator is None else "taken"
        return uuid5(_DECISIONS, f"{self.request.id}:{self.epoch}:{kind}")


Score = tuple[Any, ...]


def default(op: Operator) -> Score:
    """Fewest dialogs, then whose last dialog closed earliest."""
    return (op.load, op.last_closed, op.last_assigned, op.id)


def by_number_of_dialogs(op: Operator) -> Score:
    """Fewest dialogs; equals in turn."""
    return (op.load, op.last_assigned, op.id)


def by_date_of_last_dialog(op: Operator) -> Score:
    """Whose last dialog began earliest, however many they have."""
    return (op.last_assigned, op.id)


def longest_idle(op: Operator) -> Score:
    """Who has neither been given nor closed anything for longest."""
    return (max(op.last_assigned, op.last_closed), op.load, op.id)


METHODS: Mapping[str, Callable[[Operator], Score]] = {
    "default": default,
    "by_number_of_dialogs": by_number_of_dialogs,
    "by_date_of_last_dialog": by_date_of_last_dialog,
    "longest_idle": longest_idle,
}
"""How an operator is chosen; the lowest score wins. Being given a request never lowers a score."""


def order(request: Request) -> tuple[int, datetime, UUID]:
    """Heavier first, then older, then by id."""
    return (-request.weight, request.created_at, request.id)


_ABSENT = {Status.OFFLINE: Bar.OFFLINE, Status.AWAY: Bar.AWAY, Status.BUSY: Bar.BUSY}


def eligibility(
    op: Operator, request: Request, group: Group, *, automatic: bool = True
) -> Bar | None:
    """Tell why the operator cannot have the request; None when they can.

    Claiming, unlike being given, is for those away too, and for who handed the request back. They
    are given it again only when their group has nobody else.
    """
    person = op.person
    if person.id not in group.members:
        return Bar.NOT_A_MEMBER
    if person.skills and request.topic not in person.skills:
        return Bar.NO_SKILL
    if op.status is not Status.ONLINE and (automatic or op.status is not Status.AWAY):
        return _ABSENT[op.status]
    if automatic and person.id == request.avoid and len(group.members) > 1:
        return Bar.HANDED_BACK
    if op.load >= person.limit:
        return Bar.FULL
    limit = person.channels.get(request.channel)
    if limit is not None and op.channel_load.get(request.channel, 0) >= limit:
        return Bar.CHANNEL_FULL
    return None


def candidate(op: Operator) -> dict[str, Any]:
    """Show an operator as a decision weighs them."""
    return {
        "operator": op.id,
        "load": op.load,
        "limit": op.person.limit,
        "last_assigned_at": None if op.last_assigned is NEVER else op.last_assigned,
        "last_closed_at": None if op.last_closed is NEVER else op.last_closed,
    }


class _Line:
    """The operators who can take the requests of one line, best first.

    Scores only get worse while requests are given out, so a stale entry is never too far back:
    it is put right when it comes to the top.
    """

    def __init__(self, request: Request, group: Group, operators: Mapping[str, Operator]) -> None:
        self.request = request
        self.group = group
        self.score = METHODS[group.method]
        self.able: dict[str, Operator] = {}
        self.excluded: Counter[Bar] = Counter()
        self.heap: list[tuple[Score, str]] = []
        self.seen = 0
        for name in group.members:
            if (op := operators.get(name)) is None:
                continue
            if bar := eligibility(op, request, group):
                self.excluded[bar] += 1
            else:
                self.able[name] = op
                self.heap.append((self.score(op), name))
        heapq.heapify(self.heap)

    def settle(self, filled: list[Operator]) -> None:
        """Take out who has been filled up since, in this line or another."""
        for op in filled[self.seen :]:
            bar = eligibility(op, self.request, self.group) if op.id in self.able else None
            if bar:
                del self.able[op.id]
                self.excluded[bar] += 1
        self.seen = len(filled)

    def best(self) -> Operator | None:
        """Find the operator whose turn it is."""
        while self.heap:
            score, name = self.heap[0]
            if (op := self.able.get(name)) is None:
                heapq.heappop(self.heap)
            elif (fresh := self.score(op)) != score:
                heapq.heapreplace(self.heap, (fresh, name))
            else:
                return op
        return None

    def shown(self) -> tuple[dict[str, Any], ...]:
        """Give the foremost candidates; a heap keeps its best few at the front."""
        front = {self.able[n].id: self.able[n] for _, n in self.heap[: 2 * SHOWN] if n in self.able}
        return tuple(candidate(op) for op in sorted(front.values(), key=self.score)[:SHOWN])

    def decide(self, request: Request, op: Operator | None) -> Decision:
        """Write down how it stood when the operator was chosen."""
        name = None if op is None else op.id
        excluded = {str(bar): n for bar, n in self.excluded.items()}
        return Decision(request, name, self.group.method, self.shown(), len(self.able), excluded)


class _Round:
    """One giving out: who waits in which line, and who can be given more."""

    def __init__(
        self,
        queue: Iterable[Request],
        groups: Mapping[str, Group],
        operators: Mapping[str, Operator],
    ) -> None:
        self._groups = groups
        self._operators = operators
        self._limited = {channel for op in operators.values() for channel in op.person.channels}
        self._tables: dict[Line, _Line] = {}
        self._filled: list[Operator] = []
        self._rest: dict[Line, list[Request]] = {}
        for request in queue:
            if (group := groups.get(request.group)) and group.automatic:
                self._rest.setdefault(request.line, []).append(request)
        for waiting in self._rest.values():
            waiting.sort(key=order, reverse=True)
        self._heads = [(order(w[-1]), w.pop()) for w in self._rest.values()]
        heapq.heapify(self._heads)

    def next(self) -> tuple[Request, _Line, Operator] | None:
        """Find the foremost request somebody can take, and who; lines nobody can take are left."""
        while self._heads:
            request = self._heads[0][1]
            table = self._table(request)
            op, rest = table.best(), self._rest[request.line]
            if op is None or not rest:
                heapq.heappop(self._heads)
            else:
                heapq.heapreplace(self._heads, (order(rest[-1]), rest.pop()))
            if op is not None:
                return request, table, op
        return None

    def give(self, op: Operator, channel: str, at: datetime) -> None:
        """Let the operator have one more, and remember who is full now."""
        op.take(channel, at)
        limit = op.person.channels.get(channel)
        if op.load >= op.person.limit or limit == op.channel_load[channel]:
            self._filled.append(op)

    def _table(self, request: Request) -> _Line:
        group, topic, channel, avoid = request.line
        # where no operator limits a channel, its line has the candidates of every such line
        key = (group, topic, channel if channel in self._limited else "", avoid)
        table = self._tables.get(key)
        if table is None:
            table = _Line(request, self._groups[group], self._operators)
            table.seen = len(self._filled)
            self._tables[key] = table
        table.settle(self._filled)
        return table


def match(
    queue: Iterable[Request],
    groups: Mapping[str, Group],
    operators: Mapping[str, Operator],
    at: datetime,
) -> list[Decision]:
    """Give out what can be given out, in the queue's order, and change the operators accordingly.

    A request whose line nobody can take holds up only its own line.
    """
    giving = _Round(queue, groups, operators)
    decisions: list[Decision] = []
    while found := giving.next():
        request, table, op = found
        decisions.append(table.decide(request, op))
        giving.give(op, request.channel, at + timedelta(microseconds=len(decisions)))
    return decisions


def room(
    lines: Iterable[Line], groups: Mapping[str, Group], operators: Mapping[str, Operator]
) -> dict[Line, int]:
    """Tell how many more requests the operators of each line could have; no room, no entry."""
    found: dict[Line, int] = {}
    for line in lines:
        name, topic, channel, avoid = line
        if (group := groups.get(name)) is None or not group.automatic:
            continue
        probe = Request(_NOBODYS, name, topic, channel, 0, NEVER, avoid=avoid)
        able = _Line(probe, group, operators).able.values()
        if free := sum(op.person.limit - op.load for op in able):
            found[line] = free
    return found


def waits(
    requests: Iterable[Request], groups: Mapping[str, Group], operators: Mapping[str, Operator]
) -> list[Decision]:
    """Write down why requests have to wait."""
    tables: dict[Line, _Line] = {}
    decisions = []
    for request in requests:
        if (table := tables.get(request.line)) is None:
            group = groups.get(request.group) or Group(request.group, frozenset())
            table = tables[request.line] = _Line(request, group, operators)
        decisions.append(table.decide(request, None))
    return decisions


def chosen(request: Request, op: Operator, method: str) -> Decision:
    """Write down a decision that a person took, before the operator takes the request."""
    return Decision(request, op.id, method, (candidate(op),), 1, {})
