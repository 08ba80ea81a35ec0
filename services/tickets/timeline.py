"""The messages of a request in both directions, in order, with edits, reactions and deliveries."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from tickets.domain import events as e

_STATE_RANK = {"pending": 0, "sent": 1, "delivered": 2, "read": 3}

Entry = dict[str, Any]


def messages(events: Iterable[e.Recorded]) -> list[Entry]:
    """Return the messages of a request in order, each with its edits, reactions and state."""
    entries: dict[UUID, Entry] = {}
    for recorded in events:
        entry = _new_entry(recorded)
        if entry is not None:
            entries[entry["id"]] = entry
        else:
            _apply(entries, recorded.data)
    ids = {entry["external_id"] or entry["platform_id"]: id_ for id_, entry in entries.items()}
    for entry in entries.values():
        entry["reply_to_id"] = ids.get(entry["reply_to"]) if entry["reply_to"] else None
    return in_order(list(entries.values()))


def _new_entry(recorded: e.Recorded) -> Entry | None:
    match recorded.data:
        case e.Opened(message=message, by=by):
            return _entry(recorded, message, "in", by)
        case e.MessageAdded(message, rule):
            return {**_entry(recorded, message, "in", None), "threaded_by": rule}
        case e.MessageReturned(message):
            return _entry(recorded, message, "in", None)
        case e.ReplySent(message=message, by=by):
            return {**_entry(recorded, message, "out", by), "state": "pending"}
        case _:
            return None


def _apply(entries: dict[UUID, Entry], event: e.Event) -> None:
    match event:
        case e.MessageChanged(message, deleted) if message.id in entries:
            entries[message.id] |= _edited(entries[message.id], message, deleted=deleted)
        case e.ReactionChanged() if event.message_id in entries:
            _apply_reaction(entries[event.message_id]["reactions"], event)
        case e.DeliveryRecorded() if event.message_id in entries:
            _apply_delivery(entries[event.message_id], event)
        case _:
            pass


def after_sequence(ordered: Sequence[Entry], sequence: int) -> Sequence[Entry]:
    """Return the entries after the one with this sequence number."""
    index = next((n for n, entry in enumerate(ordered, 1) if entry["sequence"] == sequence), None)
    if index is None:
        return [entry for entry in ordered if entry["sequence"] > sequence]
    return ordered[index:]


def in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Order customers' messages by the platform's clock, and each reply after what it answers.

    Messages of the same second are ordered by the platform's numbers. The platform's clock and ours
    are not compared: a reply stands after every message that was recorded before it.
    """
    incoming = sorted(
        (entry for entry in entries if entry["direction"] == "in"),
        key=lambda entry: (entry["sort_time"], entry["number"] or 0, entry["sequence"]),
    )
    replies: dict[int, list[Entry]] = {}
    for entry in entries:
        if entry["direction"] == "out":
            positions = reversed(range(len(incoming)))
            earlier = (n for n in positions if incoming[n]["sequence"] < entry["sequence"])
            replies.setdefault(next(earlier, -1), []).append(entry)
    ordered = replies.get(-1, [])
    for n, entry in enumerate(incoming):
        ordered += [entry, *replies.get(n, [])]
    for entry in ordered:
        del entry["sort_time"]
    return ordered


def _entry(recorded: e.Recorded, message: e.Message, direction: str, author: str | None) -> Entry:
    return {
        **msgspec.to_builtins(message),
        "id": message.id,
        "direction": direction,
        "author": author,
        "sequence": recorded.originator_version,
        "at": recorded.time,
        "sort_time": message.sent_at,
        "threaded_by": None,
        "edited": False,
        "edited_at": None,
        "deleted": False,
        "reactions": [],
        "platform_id": None,
    }


def _edited(entry: Entry, message: e.Message, *, deleted: bool) -> Entry:
    changes: Entry = {**msgspec.to_builtins(message), "id": message.id}
    original = {name: entry[name] for name in ("sent_at", "reply_to", "external_id")}
    changes |= {name: value for name, value in original.items() if value is not None}
    return {
        **changes,
        "edited_at": message.sent_at,
        "number": entry["number"],
        "edited": entry["edited"] or not deleted,
        "deleted": deleted,
    }


def _apply_reaction(reactions: list[Entry], change: e.ReactionChanged) -> None:
    reactions[:] = [item for item in reactions if item["contact_id"] != change.contact_id]
    if change.reaction is not None:
        reactions.append(
            {
                "reaction": change.reaction,
                "contact_id": change.contact_id,
                "at": change.reacted_at,
            }
        )


def _apply_delivery(entry: Entry, delivery: e.DeliveryRecorded) -> None:
    """Keep the furthest state; a failure stands until a later attempt reaches another state."""
    before = entry.get("state", "pending")
    is_further = _STATE_RANK.get(delivery.state, 0) > _STATE_RANK.get(before, 0)
    if delivery.state == "failed" or before == "failed" or is_further:
        entry["state"] = delivery.state
        entry["reason"] = delivery.reason
    entry["platform_id"] = delivery.platform_id or entry["platform_id"]
