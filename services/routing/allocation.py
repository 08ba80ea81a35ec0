"""One deciding transaction: load what is touched, change it, give out what can be, save, tell.

Everything that decides takes the service's lock first, so there is one decision at a time however
many replicas there are, and each sees what the last one left. Long: it is one transaction from its
lock to what it tells.
"""

import time
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from uuid import UUID

from prometheus_client import Counter

from chassis.errors import NotReady
from chassis.messaging.transaction import Tx
from routing import store
from routing.configuration import Plan
from routing.domain.matching import (
    Line,
    Operator,
    Request,
    Status,
    chosen,
    eligibility,
    match,
    order,
    room,
    waits,
)
from routing.domain.queue_changes import Book
from trunkline_contracts import (
    CapacityReached,
    Fact,
    OperatorPresenceChanged,
    RequestAssigned,
    RequestQueued,
    RequestUnassigned,
)

anomalies = Counter("trunkline_routing_anomalies", "What the detector found", ["kind"])
decided = Counter("trunkline_routing_decisions", "Requests given out, and how", ["mode"])


class Desk:
    """Where one transaction decides. Made after the lock is taken; used once."""

    def __init__(self, tx: Tx, plan: Plan, at: datetime, old: Plan | None) -> None:
        self.tx = tx
        self.plan = plan
        self.at = at
        self.began = time.perf_counter()
        self.arrived: set[str] = set()
        self.everywhere = old is not plan
        self._moved = plan.moved_since(old) if old else {}
        self._retired = old.groups.keys() - plan.groups.keys() if old else set()

    @classmethod
    async def take(
        cls, tx: Tx, plans: Callable[[int], Plan], clock: Callable[[], datetime]
    ) -> "Desk":
        """Wait for the turn; take a new workspace's limits over when nobody has yet."""
        await tx.lock()
        version = await store.deciding_by(tx)
        if version > tx.workspace:
            raise NotReady(f"decisions go by workspace {version}, here is {tx.workspace}")
        plan = plans(tx.workspace)
        if version == tx.workspace:
            return cls(tx, plan, clock(), plan)
        await store.decide_by(tx, plan.version, list(plan.people.values()))
        return cls(tx, plan, clock(), plans(version) if version else None)

    async def open(self, ids: Iterable[UUID] = ()) -> Book:
        """Find the requests that are about to change, and those a new workspace moves."""
        moved: list[tuple[UUID, str]] = []
        if self._moved or self._retired:
            moved = await store.moved(self.tx, self._moved, self._retired)
        book = Book(await store.touched(self.tx, [*ids, *(row[0] for row in moved)]))
        for request_id, topic in moved:
            book.retopic(request_id, topic, self.plan.group_of(topic))
        return book

    async def appear(
        self, operator: str, status: Status, by: str, lease_until: datetime | None = None
    ) -> None:
        """Write down and tell who is there; whoever comes online is looked at by `close`."""
        was = await store.presence(self.tx, operator)
        await store.appear(self.tx, operator, status, self.at, lease_until)
        if status is not was:
            self.tx.say(
                OperatorPresenceChanged(
                    time=self.at, operator=operator, from_=was.value, to=status.value, by=by
                )
            )
            if status is Status.ONLINE:
                self.arrived.add(operator)
                await store.forgive(self.tx, operator)

    async def close(self, book: Book, causes: dict[UUID, Fact] | None = None) -> None:
        """Give out what can be given out now, save, and tell."""
        groups = self._woken(book)
        lines = await store.lines(self.tx, groups) if groups else {}
        busy = {line[0] for line in lines} | {r.group for r in book.left_waiting()}
        people = self.plan.members(busy) | set(book.wanted.values())
        operators = await store.operators(self.tx, self.plan.people, people)
        book.settle(operators)
        self._transfer(book, operators)
        await self._match(book, lines, busy, operators)
        left = book.left_waiting()
        book.waits += waits(left, self.plan.groups, operators)
        took = int((time.perf_counter() - self.began) * 1e6)
        await store.save(self.tx, book, self.at, self.plan.version, took)
        positions = await self._positions(left) if left else {}
        self._tell(book, positions, causes or {})
        self._tell_capacity(left, lines, operators)

    def _woken(self, book: Book) -> set[str]:
        """Tell where something can be given out now that could not be before."""
        if self.everywhere:
            return set(self.plan.groups)
        here = {release.held.operator for release in book.released} | self.arrived
        joined = {request.group for request in book.left_waiting()}
        return self.plan.groups_with(here) | joined

    def _transfer(self, book: Book, operators: dict[str, Operator]) -> None:
        """Give requests to whom they were meant for, if they can have them; else they queue."""
        for id_, name in book.wanted.items():
            request, op = book.now[id_], operators.get(name)
            if not isinstance(request, Request) or op is None:
                continue
            group = self.plan.groups.get(request.group)
            if group and eligibility(op, request, group, automatic=False) is None:
                book.take(chosen(request, op, "transfer"), name, "transfer", self.at)
                op.take(request.channel, self.at)

    async def _match(
        self,
        book: Book,
        lines: Collection[Line],
        busy: set[str],
        operators: dict[str, Operator],
    ) -> None:
        free = room(lines, self.plan.groups, operators)
        touched = sum(isinstance(state, Request) for state in book.before.values())
        limits = {line: n + touched for line, n in free.items()}
        book.find(await store.front(self.tx, limits))
        queue = [request for request in book.waiting() if request.group in busy]
        for decision in match(queue, self.plan.groups, operators, self.at):
            if decision.operator is not None:
                book.take(decision, decision.operator, "auto", self.at)

    async def _positions(self, left: list[Request]) -> dict[UUID, int]:
        """Count who stands before each newcomer: everybody heavier, and equals who came earlier."""
        by_group: dict[str, dict[int, int]] = {}
        for line, weights in (await store.lines(self.tx, {r.group for r in left})).items():
            group = by_group.setdefault(line[0], {})
            for weight, n in weights.items():
                group[weight] = group.get(weight, 0) + n
        positions: dict[UUID, int] = {}
        behind: dict[tuple[str, int], int] = {}
        for request in sorted(left, key=order, reverse=True):
            rank = (request.group, request.weight)
            standing = by_group[request.group].items()
            positions[request.id] = sum(n for w, n in standing if w >= request.weight) - behind.get(
                rank, 0
            )
            behind[rank] = behind.get(rank, 0) + 1
        return positions

    def _tell(self, book: Book, positions: dict[UUID, int], causes: dict[UUID, Fact]) -> None:
        say = self.tx.say
        for release in book.released:
            held = release.held
            if release.reason is not None:
                say(
                    RequestUnassigned(
                        time=self.at, request_id=held.request.id, operator=held.operator,
                        reason=release.reason, epoch=held.request.epoch,
                        traceparent=held.request.trace,
                    ),
                    cause=causes.get(held.request.id),
                )  # fmt: skip
        taken = {t.decision.request.id: t.decision.request for t in book.taken}
        for id_, reason in book.joined.items():
            state = book.now[id_]
            request = state if isinstance(state, Request) else taken[id_]
            say(
                RequestQueued(
                    time=self.at, request_id=id_, group=request.group, weight=request.weight,
                    position=positions.get(id_, 1), reason=reason, traceparent=request.trace,
                ),
                cause=causes.get(id_),
            )  # fmt: skip
        for one in book.taken:
            request = one.decision.request
            decided.labels(one.mode).inc()
            say(
                RequestAssigned(
                    time=self.at, request_id=request.id, operator=one.operator,
                    group=request.group, epoch=one.decision.epoch, mode=one.mode,
                    decision=one.decision.id, traceparent=request.trace,
                ),
                cause=causes.get(request.id),
            )  # fmt: skip

    def _tell_capacity(
        self, left: list[Request], before: Collection[Line], operators: dict[str, Operator]
    ) -> None:
        """Tell of groups in which the first has to wait because nobody can take more."""
        waited = {line[0] for line in before}
        for name in sorted({request.group for request in left} - waited):
            group = self.plan.groups.get(name)
            if group is None or not group.automatic:
                continue
            there = (op for member in group.members if (op := operators.get(member)))
            if not any(op.status is Status.ONLINE and op.load < op.person.limit for op in there):
                self.tx.say(CapacityReached(time=self.at, group=name))


async def inspect(desk: Desk) -> int:
    """Look for what must not be: somebody waits while somebody able is free; a load is wrong.

    What is found is counted, written down, and given out. There is nothing to find.
    """
    desk.everywhere = True
    book = Book({})
    await desk.close(book)
    for taken in book.taken:
        anomalies.labels("waited_in_vain").inc()
        since = taken.decision.request.created_at.isoformat()
        await store.note_anomaly(
            desk.tx, desk.at, "waited_in_vain", taken.decision.request.id, taken.operator,
            {"created_at": since},
        )  # fmt: skip
    strayed = await store.strayed(desk.tx)
    for operator, load, held in strayed:
        anomalies.labels("load_strayed").inc()
        await store.note_anomaly(
            desk.tx, desk.at, "load_strayed", None, operator, {"load": load, "held": held}
        )
    twice = await store.twice(desk.tx)
    for request_id in twice:
        anomalies.labels("in_two_places").inc()
        await store.note_anomaly(desk.tx, desk.at, "in_two_places", request_id, None, {})
    return len(book.taken) + len(strayed) + len(twice)


LOOKS = timedelta(seconds=30)
"""How often the detector looks."""
