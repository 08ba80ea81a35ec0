"""What tickets hears becomes part of the request's own history, in the order it was heard.

Long, as it lists what is heard.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from chassis.messaging.reader import UNHURRIED, Reader
from chassis.messaging.transaction import Tx
from chassis.postgres.locks import lock_key
from tickets import breaches
from tickets.domain import decisions
from tickets.domain import events as e
from tickets.domain.decisions import Events
from tickets.domain.request import Request, replay
from tickets.domain.rules import Rules
from tickets.store import Change, append, load
from trunkline_contracts import (
    Contact,
    DeliveryReported,
    Message,
    MessageEdited,
    MessageFailed,
    MessageReacted,
    MessageReceived,
    MessageSent,
    RatingReceived,
    RequestAssigned,
    RequestFact,
    RequestOpened,
    RequestQueued,
    RequestUnassigned,
    TargetBreached,
    TargetsRestated,
)

SAY: Final = lock_key("say", "tickets")


class Historian:
    """Folds batches of others' facts into histories: one load and one append for all of them."""

    def __init__(self, rules: Callable[[], Rules]) -> None:
        self._rules = rules

    async def hear(self, tx: Tx, facts: Sequence[RequestFact]) -> None:
        """Decide and append; what others changed meanwhile is decided again, under the lock."""
        rules = self._rules()
        groups: dict[UUID, list[RequestFact]] = {}
        for fact in facts:
            groups.setdefault(fact.request_id, []).append(fact)
        while groups:
            known = await load(tx.conn, groups)
            changes = [
                change
                for request_id, heard in groups.items()
                if (change := _fold(tx, rules, known.get(request_id), heard)) is not None
            ]
            for request_id in groups.keys() - {change.request_id for change in changes}:
                for fact in groups[request_id]:
                    tx.wait(fact)
            if not changes:
                return
            verdicts = await append(tx.conn, SAY, changes)
            tx.appended |= any(change.events for change in changes)
            again = [changes[n].request_id for n in sorted(verdicts.conflicts)]
            groups = {request_id: groups[request_id] for request_id in again}


def _fold(
    tx: Tx, rules: Rules, request: Request | None, heard: Sequence[RequestFact]
) -> Change | None:
    """Apply what was heard of one request; None when it is not known here yet."""
    seen = request.version if request else 0
    added: list[e.Recorded] = []
    for fact in heard:
        if request is None and not isinstance(fact, RequestOpened):
            return None
        events = decide(request, rules, fact)
        version = request.version if request else 0
        more = decisions.record(
            fact.request_id, version, events, _context(tx, rules, request, fact)
        )
        request = replay(more, request)
        added += more
    return Change(heard[0].request_id, seen, added, request)


def _context(tx: Tx, rules: Rules, request: Request | None, fact: RequestFact) -> Mapping[str, Any]:
    cause = str(fact.id)
    return {
        "time": max(tx.now, request.updated_at) if request else tx.now,
        "workspace": rules.version,
        "traceparent": fact.traceparent,
        "correlationid": fact.correlationid or cause,
        "causationid": cause,
    }


def decide(request: Request | None, rules: Rules, fact: RequestFact) -> Events:
    """Say what follows from a fact; one that came too late, or again, has no effect."""
    if isinstance(fact, RequestOpened):
        return decisions.opened_elsewhere(request, rules, _draft(fact))
    assert request is not None  # noqa: S101  for the type: `_fold` has looked
    match fact:
        case RequestQueued():
            return decisions.hear_queued(request, fact.group)
        case RequestAssigned():
            by = fact.operator if fact.mode == "claim" else None
            change = e.AssigneeChanged(None, fact.operator, fact.group, fact.mode, by, fact.epoch)
            return decisions.hear_assigned(request, change)
        case RequestUnassigned():
            return decisions.hear_unassigned(request, fact.operator, fact.reason, fact.epoch)
        case _:
            return _of_messages(request, fact)


def _of_messages(request: Request, fact: RequestFact) -> Events:
    match fact:
        case MessageReceived():
            return decisions.hear_message(request, _message(fact.message), fact.threaded_by)
        case MessageEdited():
            return decisions.hear_edit(request, _message(fact.message), deleted=fact.deleted)
        case MessageReacted():
            change = e.ReactionChanged(
                fact.message_id, fact.reaction, fact.reacted_at, fact.contact_id, fact.number
            )
            return decisions.hear_reaction(request, change)
        case MessageSent():
            sent = e.DeliveryRecorded(fact.message_id, "sent", fact.platform_id)
            return decisions.hear_delivery(request, sent)
        case MessageFailed():
            failed = e.DeliveryRecorded(fact.message_id, "failed", None, fact.reason)
            return decisions.hear_delivery(request, failed)
        case DeliveryReported():
            named = fact.message_id or fact.platform_id
            report = (fact.state, fact.platform_id, fact.reason, fact.permanent)
            return decisions.hear_report(
                request, named, lambda message_id: e.DeliveryRecorded(message_id, *report)
            )
        case RatingReceived():
            return decisions.hear_rating(request, fact.score, fact.comment)
        case _:
            return decisions.NOTHING


def _draft(fact: RequestOpened) -> e.Opened:
    return e.Opened(
        type=fact.request_type,
        channel=fact.channel,
        account=fact.account,
        contact=_contact(fact.contact),
        title=fact.title or "",
        topic=fact.topic or "",
        priority=fact.priority or "",
        status="",
        fields=fact.fields,
        message=_message(fact.message),
        conversation=fact.conversation,
        follow_up_of=fact.follow_up_of,
    )


def _contact(told: Contact) -> e.Contact:
    return e.Contact(told.id, told.name, told.address, told.language, told.answer_to)


def _message(told: Message) -> e.Message:
    return e.Message(
        told.id,
        told.text,
        told.sent_at,
        told.html,
        tuple(each.model_dump(mode="json") for each in told.attachments),
        told.external_id,
        told.reply_to,
        told.location.model_dump(mode="json") if told.location else None,
        tuple(each.model_dump(mode="json") for each in told.contacts),
        told.button,
        told.quoted,
        told.flags,
        told.no_auto_response,
        told.automatic,
        told.number,
    )


def readers(rules: Callable[[], Rules]) -> list[Reader]:
    """What tickets hears."""
    historian = Historian(rules)

    def of(*facts: type[RequestFact]) -> frozenset[type[RequestFact]]:
        return frozenset(facts)

    messages = of(
        RequestOpened, MessageReceived, MessageEdited, MessageReacted, RatingReceived,
        DeliveryReported,
    )  # fmt: skip
    queue = of(RequestQueued, RequestAssigned, RequestUnassigned)
    return [
        Reader("INGEST", historian.hear, hears=messages),
        Reader("ROUTING", historian.hear, hears=queue),
        Reader(
            "SLA",
            breaches.note,
            hears=of(TargetBreached, TargetsRestated),
            pace=UNHURRIED,
        ),
        Reader("NOTIFY", historian.hear, hears=of(MessageSent, MessageFailed), pace=UNHURRIED),
    ]
