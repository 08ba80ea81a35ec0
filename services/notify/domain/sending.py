"""Who is told what, and what an attempt to send can end in. No I/O.

Recipients are the union of reasons (assignee, watchers, whom the fact is about), each told once and
never of their own deed. A bell's text names no customer and repeats nobody's words. Long, as it
lists what each fact means to whom.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from trunkline_contracts import (
    NAMESPACE,
    AssigneeChanged,
    Closed,
    DeliveryRecorded,
    Escalated,
    Fact,
    FieldsChanged,
    Linked,
    Merged,
    MessageAdded,
    MessageChanged,
    NoteAdded,
    Opened,
    Paused,
    PriorityChanged,
    Queued,
    Rated,
    RatingDeleted,
    ReplySent,
    RequestOffered,
    Resumed,
    StatusChanged,
    SubtaskAdded,
    SubtaskChanged,
    TagAdded,
    TagRemoved,
    TargetBreached,
    TargetWarned,
    TitleChanged,
    TopicChanged,
    TransferRequested,
    Unlinked,
    WatcherAdded,
    WatcherRemoved,
)

BELL = "bell"

EVERYBODY: dict[type[Fact], tuple[str, str]] = {
    MessageAdded: ("message_added", "The customer wrote again"),
    MessageChanged: ("message_changed", "The customer changed a message"),
    ReplySent: ("reply_sent", "{by} answered the customer"),
    NoteAdded: ("note_added", "{by} added a note"),
    TitleChanged: ("title_changed", "{by} changed the title"),
    TopicChanged: ("topic_changed", "{by} moved it from {from_} to {to}"),
    PriorityChanged: ("priority_changed", "{by} changed the priority from {from_} to {to}"),
    FieldsChanged: ("fields_changed", "{by} changed its fields"),
    StatusChanged: ("status_changed", "{by} moved it from {from_} to {to}"),
    Paused: ("paused", "{by} paused it"),
    Resumed: ("resumed", "{by} resumed it"),
    TransferRequested: ("transfer_requested", "{by} asked for somebody else to take it"),
    Escalated: ("escalated", "{by} escalated it"),
    TagAdded: ("tag_added", "{by} added a tag"),
    TagRemoved: ("tag_removed", "{by} removed a tag"),
    Linked: ("linked", "{by} linked it"),
    Unlinked: ("unlinked", "{by} unlinked it"),
    Merged: ("merged", "{by} merged it into another"),
    SubtaskAdded: ("subtask_added", "{by} added a sub-task"),
    SubtaskChanged: ("subtask_changed", "A sub-task moved to {status}"),
    Closed: ("closed", "It is closed"),
    Rated: ("rated", "The customer rated it {score}"),
    RatingDeleted: ("rating_deleted", "{by} deleted a rating"),
    TargetWarned: ("warned", "{clock}: {fraction:.0%} of the promised time is used"),
    TargetBreached: ("breached", "{clock} was due at {due_at:%Y-%m-%d %H:%M:%S} UTC"),
}
"""What assignee and watchers are told of: kind and sentence."""

FOLDED: frozenset[type[Fact]] = frozenset(
    {Opened, Queued, AssigneeChanged, WatcherAdded, WatcherRemoved}
)
"""What moves our picture of a request."""

HEARD: frozenset[type[Fact]] = FOLDED | frozenset(EVERYBODY) | {DeliveryRecorded}


@dataclass(slots=True)
class Request:
    """Who has to do with a request."""

    id: UUID
    type: str
    topic: str
    sequence: int = 0
    assignee: str | None = None
    watchers: list[str] = field(default_factory=list)
    closed: bool = False
    team: str | None = None
    """The group it waited in last; None while it is the topic's own."""

    def fold(self, fact: Fact) -> None:
        """Take in what the fact changes about whom to tell."""
        self.sequence = fact.sequence
        match fact:
            case AssigneeChanged():
                self.assignee, self.team = fact.to, fact.group or self.team
            case Queued():
                self.team = fact.group
            case WatcherAdded() if fact.watcher not in self.watchers:
                self.watchers.append(fact.watcher)
            case WatcherRemoved() if fact.watcher in self.watchers:
                self.watchers.remove(fact.watcher)
            case TopicChanged():
                self.topic = fact.to
            case Closed() | Merged():
                self.closed = True
            case _:
                pass


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing one person is told."""

    id: UUID
    recipient: str
    kind: str
    request_id: UUID
    text: str
    fact: Fact
    group: str | None = None
    """The group the recipient is told as a member of; its unread notices are one bell."""


@dataclass(frozen=True, slots=True)
class Group:
    """The operators who are told of a request while it waits for one of them."""

    name: str
    operators: Sequence[str] = ()


NO_GROUP = Group("")


def opened(fact: Opened) -> Request:
    """Give the request as it begins."""
    return Request(fact.request_id, fact.request_type, fact.topic, fact.sequence)


def notices(fact: Fact, before: Request, group: Group = NO_GROUP) -> list[Notice]:
    """Return who is told what of a fact, given the request as it was before it.

    `group` is told, too, because the request has no assignee.
    """
    actor = _actor(fact)
    personal = {before.assignee, *before.watchers}
    seen: set[str] = set()
    told: list[Notice] = []
    for recipient, kind, sentence in _reasons(fact, before, group.operators):
        if recipient != actor and recipient not in seen:
            seen.add(recipient)
            text = f"{sentence} ({before.type}, {before.topic})"
            about = notification_id(fact.id, recipient, BELL, kind)
            shared = group.name if recipient not in personal and group.operators else None
            told.append(Notice(about, recipient, kind, before.id, text, fact, shared))
    return told


def notification_id(fact_id: UUID, recipient: str, channel: str, kind: str) -> UUID:
    """Derive a notification's id: telling again is the same notification."""
    return uuid5(NAMESPACE, f"notification:{fact_id}:{recipient}:{channel}:{kind}")


def _actor(fact: Fact) -> str | None:
    match fact:
        case Closed():
            return fact.operator
        case AssigneeChanged(by=None, mode="claim"):
            return fact.to
        case _:
            by: str | None = getattr(fact, "by", None)
            return by


def _reasons(fact: Fact, request: Request, team: Sequence[str]) -> Iterable[tuple[str, str, str]]:
    """Give every reason to tell somebody, the strongest first."""
    match fact:
        case AssigneeChanged():
            yield from _handover(fact, request)
        case WatcherAdded():
            yield fact.watcher, "watching", f"{fact.by} made you a watcher"
        case WatcherRemoved():
            yield fact.watcher, "unwatched", f"{fact.by} took you off the watchers"
        case RequestOffered():
            yield fact.operator, "offered", "Will you take it?"
        case DeliveryRecorded():
            if fact.state == "failed" and request.assignee is not None:
                yield request.assignee, "delivery_failed", "The customer did not get an answer"
        case _:
            yield from _everybody(fact, request, team)


def _handover(fact: AssigneeChanged, request: Request) -> Iterable[tuple[str, str, str]]:
    if fact.to is not None:
        yield fact.to, "assigned", "It is yours now"
    if fact.from_ is not None:
        yield fact.from_, "unassigned", "It is not yours any more"
    for watcher in request.watchers:
        yield watcher, "reassigned", f"{fact.to or 'Nobody'} is responsible now"


def _everybody(fact: Fact, request: Request, team: Sequence[str]) -> Iterable[tuple[str, str, str]]:
    known = EVERYBODY.get(type(fact))
    if known is None:
        return
    kind, sentence = known
    text = sentence.format_map(_Words(fact))
    if request.assignee is not None:
        yield request.assignee, kind, text
    for watcher in (*request.watchers, *team):
        yield watcher, kind, text


class _Words(dict[str, object]):
    """The fact's fields, looked up only when a sentence names them."""

    def __init__(self, fact: Fact) -> None:
        super().__init__()
        self._fact = fact

    def __missing__(self, name: str) -> object:
        return getattr(self._fact, name)


@dataclass(frozen=True, slots=True)
class Sent:
    """The platform took it."""

    platform_id: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """It was not taken, and may be later; `exit_shut` when that holds for the whole account."""

    reason: str
    after: float | None = None
    exit_shut: bool = False
    chat: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """It was not taken and never will be; `permanent`: nor will anything to this address."""

    reason: str
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can say whether it was taken."""

    reason: str
    taken: bool = True
    """Whether it may well have been: false where those who did not answer are not there."""


Outcome = Sent | Retry | Refused | Unknown

LONGEST_WAIT = 3600.0
"""A platform's `retry_after` is hostile input: never wait longer."""

RESENDS = (1.0, 60.0)
"""Seconds until what may have been taken is sent again; after the last nobody can say."""

GIVE_UP_AFTER = 24 * 3600.0
CREDENTIAL_PAUSE = 60.0


def patience(attempts: int) -> float:
    """Give the seconds until the next attempt: doubling from one, five minutes at most."""
    return float(min(2 ** max(attempts - 1, 0), 300))


def wait_asked(value: object) -> float | None:
    """Take a platform's wish to wait, if it is one: a number of seconds, capped."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 10**8:
        return None
    return min(float(value), LONGEST_WAIT)


@dataclass(frozen=True, slots=True)
class Next:
    """What becomes of a send after an attempt. `delay` is None when nothing more is done."""

    state: str
    delay: float | None = None
    platform_id: str | None = None
    reason: str | None = None
    chat: str | None = None
    doubted: bool = False
    """Whether it may be a copy that the customer has."""
    permanent: bool = False
    """Whether the address takes nothing at all."""


def kept(told: str | None, longest: int = 255) -> str | None:
    """Give what can be kept of a stranger's text: no control characters, no halves of others."""
    return told and "".join(c if c.isprintable() else "\ufffd" for c in told[:longest])


def after(outcome: Outcome, attempts: int, age: float, *, resend: bool, doubts: int = 0) -> Next:
    """Decide by outcome, age and policy. Unknown is not failed: it is sent again only by policy.

    `doubts` is how many copies there may be already. Whoever has had a message three times has it,
    and if not, somebody has to look: it is given up, and said to be.
    """
    late = age > GIVE_UP_AFTER
    match outcome:
        case Sent(platform_id):
            return Next("sent", platform_id=kept(platform_id))
        case Refused(reason, permanent):
            return Next("failed", reason=kept(reason), permanent=permanent)
        case Unknown(reason) if not resend:
            return Next("unknown", reason=kept(reason))
        case Unknown(reason, taken):
            if late or (taken and doubts >= len(RESENDS)):
                return Next("failed", reason=kept(f"nobody can say whether it arrived: {reason}"))
            delay = RESENDS[doubts] if taken else patience(attempts)
            return Next("unknown", delay, reason=kept(reason), doubted=taken)
        case Retry(reason, wait, _, chat):
            if late:
                return Next("failed", reason=kept(f"given up: {reason}"))
            delay = patience(attempts) if wait is None else wait
            moved = chat if chat == kept(chat, 2000) else None
            return Next("intended", delay, None, kept(reason), moved)
