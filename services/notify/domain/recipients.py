"""Recipients of notifications: the people a fact concerns, the kind and the sentence for each.

A sentence never contains the customer's name or anyone's words.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from notify.domain.request import REQUEST_FACTS, Request
from trunkline_contracts import (
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
    Paused,
    PriorityChanged,
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

SENTENCES: dict[type[Fact], tuple[str, str]] = {
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
"""The kind and the sentence of each fact that goes to the assignee and the watchers."""

CONSUMED_FACTS: frozenset[type[Fact]] = REQUEST_FACTS | frozenset(SENTENCES) | {DeliveryRecorded}
"""Facts of a request that change its state or notify someone."""

Reason = tuple[str, str, str]
"""A reason to notify someone: the recipient, the kind and the sentence."""


@dataclass(frozen=True, slots=True)
class Group:
    """A skill group and the operators who are notified while a request has no assignee."""

    name: str
    operators: Sequence[str] = ()


NO_GROUP = Group("")


def acting_person(fact: Fact) -> str | None:
    """Return the person who caused a fact, who is not notified of it; None if no person did."""
    match fact:
        case Closed():
            return fact.operator
        case AssigneeChanged(by=None, mode="claim"):
            return fact.to
        case _:
            by: str | None = getattr(fact, "by", None)
            return by


def reasons(fact: Fact, request: Request, team: Sequence[str]) -> Iterable[Reason]:
    """Yield the reasons to notify people of a fact, the strongest reason of each person first.

    `team` are the members of the group that is notified because the request has no assignee.
    """
    match fact:
        case AssigneeChanged():
            yield from _assignment_reasons(fact, request)
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
            yield from _change_reasons(fact, request, team)


def _assignment_reasons(fact: AssigneeChanged, request: Request) -> Iterable[Reason]:
    if fact.to is not None:
        yield fact.to, "assigned", "It is yours now"
    if fact.from_ is not None:
        yield fact.from_, "unassigned", "It is not yours any more"
    for watcher in request.watchers:
        yield watcher, "reassigned", f"{fact.to or 'Nobody'} is responsible now"


def _change_reasons(fact: Fact, request: Request, team: Sequence[str]) -> Iterable[Reason]:
    entry = SENTENCES.get(type(fact))
    if entry is None:
        return
    kind, sentence = entry
    text = sentence.format_map(_FactFields(fact))
    if request.assignee is not None:
        yield request.assignee, kind, text
    for watcher in (*request.watchers, *team):
        yield watcher, kind, text


class _FactFields(dict[str, object]):
    """The fields of a fact, read only when a sentence names them."""

    def __init__(self, fact: Fact) -> None:
        super().__init__()
        self._fact = fact

    def __missing__(self, name: str) -> object:
        return getattr(self._fact, name)
