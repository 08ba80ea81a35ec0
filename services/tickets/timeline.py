"""What was written in both directions, as people see it: in order, with all that befell it."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec

from tickets.domain import events as e

_RANK = {"pending": 0, "sent": 1, "delivered": 2, "read": 3}


def messages(events: Iterable[e.Recorded]) -> list[dict[str, Any]]:
    """Show messages with their corrections, reactions and, of answers, how far each has come."""
    shown: dict[UUID, dict[str, Any]] = {}
    for recorded in events:
        written = _written(recorded)
        if written is not None:
            shown[written["id"]] = written
        else:
            _befall(shown, recorded.data)
    names = {each["external_id"] or each["platform_id"]: id for id, each in shown.items()}
    for each in shown.values():
        each["reply_to_id"] = names.get(each["reply_to"]) if each["reply_to"] else None
    return in_order(list(shown.values()))


def _written(recorded: e.Recorded) -> dict[str, Any] | None:
    match recorded.data:
        case e.Opened(message=message, by=by):
            return _shown(recorded, message, "in", by)
        case e.MessageAdded(message, rule):
            return {**_shown(recorded, message, "in", None), "threaded_by": rule}
        case e.MessageReturned(message):
            return _shown(recorded, message, "in", None)
        case e.ReplySent(message, by):
            return {**_shown(recorded, message, "out", by), "state": "pending"}
        case _:
            return None


def _befall(shown: dict[UUID, dict[str, Any]], event: e.Event) -> None:
    match event:
        case e.MessageChanged(message, deleted) if message.id in shown:
            shown[message.id] |= _changed(shown[message.id], message, deleted=deleted)
        case e.ReactionChanged() if event.message_id in shown:
            _react(shown[event.message_id]["reactions"], event)
        case e.DeliveryRecorded() if event.message_id in shown:
            _deliver(shown[event.message_id], event)
        case _:
            pass


def after(ordered: Sequence[dict[str, Any]], cursor: int) -> Sequence[dict[str, Any]]:
    """Give what stands behind the message of this sequence."""
    place = next((n for n, each in enumerate(ordered, 1) if each["sequence"] == cursor), None)
    if place is None:
        return [each for each in ordered if each["sequence"] > cursor]
    return ordered[place:]


def in_order(shown: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put customers' messages in the order they were said, and each answer after all it answered.

    Where platforms' clocks tell no more than the second, their numbers tell the order within it.
    Platforms' clocks and ours are not compared: an answer stands behind what had come before it.
    """
    said = sorted(
        (each for each in shown if each["direction"] == "in"),
        key=lambda each: (each["said_at"], each["number"] or 0, each["sequence"]),
    )
    answers: dict[int, list[dict[str, Any]]] = {}
    for each in shown:
        if each["direction"] == "out":
            places = reversed(range(len(said)))
            place = next((n for n in places if said[n]["sequence"] < each["sequence"]), -1)
            answers.setdefault(place, []).append(each)
    ordered = answers.get(-1, [])
    for n, each in enumerate(said):
        ordered += [each, *answers.get(n, [])]
    for each in ordered:
        del each["said_at"]
    return ordered


def _shown(
    recorded: e.Recorded, message: e.Message, direction: str, author: str | None
) -> dict[str, Any]:
    return {
        **msgspec.to_builtins(message),
        "id": message.id,
        "direction": direction,
        "author": author,
        "sequence": recorded.originator_version,
        "at": recorded.time,
        "said_at": message.sent_at,
        "threaded_by": None,
        "edited": False,
        "edited_at": None,
        "deleted": False,
        "reactions": [],
        "platform_id": None,
    }


def _changed(shown: dict[str, Any], message: e.Message, *, deleted: bool) -> dict[str, Any]:
    told: dict[str, Any] = {**msgspec.to_builtins(message), "id": message.id}
    kept = {name: shown[name] for name in ("sent_at", "reply_to", "external_id")}
    told |= {name: value for name, value in kept.items() if value is not None}
    when = {"edited_at": message.sent_at, "number": shown["number"]}
    return {**told, **when, "edited": shown["edited"] or not deleted, "deleted": deleted}


def _react(reactions: list[dict[str, Any]], change: e.ReactionChanged) -> None:
    reactions[:] = [each for each in reactions if each["contact_id"] != change.contact_id]
    if change.reaction is not None:
        reactions.append(
            {
                "reaction": change.reaction,
                "contact_id": change.contact_id,
                "at": change.reacted_at,
            }
        )


def _deliver(shown: dict[str, Any], delivery: e.DeliveryRecorded) -> None:
    """The furthest counts; a failure stands until the message is on its way again."""
    before = shown.get("state", "pending")
    further = _RANK.get(delivery.state, 0) > _RANK.get(before, 0)
    if delivery.state == "failed" or before == "failed" or further:
        shown["state"] = delivery.state
        shown["reason"] = delivery.reason
    shown["platform_id"] = delivery.platform_id or shown["platform_id"]
