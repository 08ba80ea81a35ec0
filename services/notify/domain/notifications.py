"""Notifications: one message to each person a fact concerns, except the person who caused it."""

from dataclasses import dataclass
from uuid import UUID, uuid5

from notify.domain.recipients import NO_GROUP, Group, acting_person, reasons
from notify.domain.request import Request
from trunkline_contracts import NAMESPACE, Fact

BELL = "bell"
"""The channel of notifications inside the product."""


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification of one person about one fact."""

    id: UUID
    recipient: str
    kind: str
    request_id: UUID
    text: str
    fact: Fact
    group: str | None = None
    """The group through which the recipient is notified; None for a personal notification.

    Unread notifications of one group and kind are counted in one bell entry."""


def notifications(fact: Fact, before: Request, group: Group = NO_GROUP) -> list[Notification]:
    """Return the notifications of a fact, at most one for each person.

    `before` is the request as it was before the fact. The members of `group` are notified too,
    because the request has no assignee.
    """
    actor = acting_person(fact)
    personal = {before.assignee, *before.watchers}
    notified: set[str] = set()
    result: list[Notification] = []
    for recipient, kind, sentence in reasons(fact, before, group.operators):
        if recipient != actor and recipient not in notified:
            notified.add(recipient)
            text = f"{sentence} ({before.type}, {before.topic})"
            id_ = notification_id(fact.id, recipient, BELL, kind)
            shared = group.name if recipient not in personal and group.operators else None
            result.append(Notification(id_, recipient, kind, before.id, text, fact, shared))
    return result


def notification_id(fact_id: UUID, recipient: str, channel: str, kind: str) -> UUID:
    """Return the id of a notification; the same fact read again gives the same id."""
    return uuid5(NAMESPACE, f"notification:{fact_id}:{recipient}:{channel}:{kind}")
