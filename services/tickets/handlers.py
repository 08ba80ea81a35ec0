"""Facts in: the facts of other services become events in the histories of their requests."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

from chassis.messaging.reader import BACKGROUND_INTERVAL_S, Reader
from chassis.messaging.transaction import Tx
from chassis.postgres.locks import lock_key
from tickets import breaches
from tickets.conversion import from_fact
from tickets.domain import events as e
from tickets.domain.commands import assignment, lifecycle, messages, ratings
from tickets.domain.events import NO_EVENTS, Events
from tickets.domain.request import Request, replay
from tickets.domain.rules import Rules
from tickets.store import Change, append, load
from trunkline_contracts import (
    DeliveryReported,
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

APPEND_LOCK: Final = lock_key("say", "tickets")

CurrentRules = Callable[[], Rules]


async def apply_facts(current_rules: CurrentRules, tx: Tx, facts: Sequence[RequestFact]) -> None:
    """Append the events that follow from a batch of facts: one load and one append for all.

    A request that another replica changed meanwhile is decided again, then under the append lock.
    """
    rules = current_rules()
    pending: dict[UUID, list[RequestFact]] = {}
    for fact in facts:
        pending.setdefault(fact.request_id, []).append(fact)
    while pending:
        requests = await load(tx.conn, pending)
        changes = _decide_batch(tx, rules, requests, pending)
        if not changes:
            return
        rejected = await append(tx.conn, APPEND_LOCK, changes)
        tx.has_appended |= any(change.events for change in changes)
        conflicting = [changes[n].request_id for n in sorted(rejected.conflicts)]
        pending = {request_id: pending[request_id] for request_id in conflicting}


def _decide_batch(
    tx: Tx,
    rules: Rules,
    requests: Mapping[UUID, Request],
    pending: Mapping[UUID, Sequence[RequestFact]],
) -> list[Change]:
    """Return the change of each request; defer the facts of requests that are not opened yet."""
    changes = []
    for request_id, facts in pending.items():
        change = _change(tx, rules, requests.get(request_id), facts)
        if change is not None:
            changes.append(change)
        else:
            for fact in facts:
                tx.defer(fact)
    return changes


def _change(
    tx: Tx, rules: Rules, request: Request | None, facts: Sequence[RequestFact]
) -> Change | None:
    """Apply facts to one request; None when it is not opened yet."""
    expected = request.version if request else 0
    added: list[e.Recorded] = []
    for fact in facts:
        if request is None and not isinstance(fact, RequestOpened):
            return None
        version = request.version if request else 0
        events = decide(request, rules, fact)
        numbered = e.number(fact.request_id, version, events, _context(tx, rules, request, fact))
        request = replay(numbered, request)
        added += numbered
    return Change(facts[0].request_id, expected, added, request)


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
    """Return the events that follow from a fact; none for a late or repeated one."""
    if isinstance(fact, RequestOpened):
        return lifecycle.on_request_opened(request, rules, _draft(fact))
    assert request is not None  # noqa: S101  for the type: `_change` has checked it
    match fact:
        case RequestQueued():
            return assignment.on_queued(request, fact.group)
        case RequestAssigned():
            return assignment.on_assigned(request, _assigned(fact))
        case RequestUnassigned():
            return assignment.on_unassigned(request, fact.operator, fact.reason, fact.epoch)
        case RatingReceived():
            return ratings.on_rating(request, fact.score, fact.comment)
        case _:
            return _decide_message(request, fact)


def _decide_message(request: Request, fact: RequestFact) -> Events:
    match fact:
        case MessageReceived():
            message = from_fact(e.Message, fact.message)
            return messages.on_message(request, message, fact.threaded_by)
        case MessageEdited():
            message = from_fact(e.Message, fact.message)
            return messages.on_edit(request, message, deleted=fact.deleted)
        case MessageReacted():
            # A null reaction removes the last one: it is a value, not a missing field.
            change = from_fact(e.ReactionChanged, fact, reaction=None)
            return messages.on_reaction(request, change)
        case MessageSent():
            return messages.on_delivery(request, from_fact(e.DeliveryRecorded, fact, state="sent"))
        case MessageFailed():
            failed = from_fact(e.DeliveryRecorded, fact, state="failed")
            return messages.on_delivery(request, failed)
        case DeliveryReported():
            name = fact.message_id or fact.platform_id
            return messages.on_delivery_report(
                request, name, lambda id_: from_fact(e.DeliveryRecorded, fact, message_id=id_)
            )
        case _:
            return NO_EVENTS


def _draft(fact: RequestOpened) -> e.Opened:
    """Return an opening with empty strings where the workspace's defaults apply."""
    return from_fact(e.Opened, fact, title="", topic="", priority="", status="")


def _assigned(fact: RequestAssigned) -> e.AssigneeChanged:
    return e.AssigneeChanged(
        from_=None,
        to=fact.operator,
        group=fact.group,
        mode=fact.mode,
        by=fact.operator if fact.mode == "claim" else None,
        epoch=fact.epoch,
    )


def readers(current_rules: CurrentRules) -> list[Reader]:
    """Return the readers of INGEST, ROUTING, SLA and NOTIFY."""
    apply = partial(apply_facts, current_rules)
    from_ingest: frozenset[type[RequestFact]] = frozenset(
        {
            RequestOpened,
            MessageReceived,
            MessageEdited,
            MessageReacted,
            RatingReceived,
            DeliveryReported,
        }
    )
    from_routing: frozenset[type[RequestFact]] = frozenset(
        {RequestQueued, RequestAssigned, RequestUnassigned}
    )
    from_sla: frozenset[type[RequestFact]] = frozenset({TargetBreached, TargetsRestated})
    from_notify: frozenset[type[RequestFact]] = frozenset({MessageSent, MessageFailed})
    return [
        Reader("INGEST", apply, consumes=from_ingest),
        Reader("ROUTING", apply, consumes=from_routing),
        Reader("SLA", breaches.record, consumes=from_sla, batch_interval=BACKGROUND_INTERVAL_S),
        Reader("NOTIFY", apply, consumes=from_notify, batch_interval=BACKGROUND_INTERVAL_S),
    ]
