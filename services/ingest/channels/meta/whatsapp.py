"""WhatsApp Cloud: messages, statuses and errors, many in a delivery.

People are named by the id they have for our business where it is told (`from_user_id`), for who
took a username may hide the number; elsewhere by the number (`from`). Whoever was known by the
number stays so.
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
Long: who somebody is, by id or number, is settled here for all that comes.
"""

from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

from ingest.channels.meta import whatsapp_content as content
from ingest.channels.meta.webhook import (
    Piece,
    Read,
    attempt,
    batch,
    each,
    joined,
    noted,
    piece,
    pieces,
    said_at,
    short,
    trouble,
)
from ingest.channels.parsing import digest, digest_but_addresses, named, part, words
from ingest.domain.items import Item, Person, Raw, Unreadable
from trunkline_contracts.parts import DeliveryState

STATES: MappingProxyType[str, DeliveryState] = MappingProxyType(
    {"sent": "sent", "delivered": "delivered", "read": "read", "played": "read", "failed": "failed"}
)
"""How far a message of ours has come; a voice message that was played was read."""


def read(raw: Raw) -> tuple[Read, ...]:
    """Read one delivery."""
    return batch(raw, "whatsapp_business_account", _entry)


def _entry(where: str, entry: Piece, raw: Raw) -> Iterator[Read]:
    for at, change in each(entry, "changes", where):
        yield from attempt(at, _change, at, change, raw)


def _change(where: str, told: Any, raw: Raw) -> Iterator[Read]:
    change = piece(told)
    value, found = part(change, "value"), False
    for key, read_one in READERS.items():
        for at, one in each(value, key, f"{where}.value"):
            found = True
            yield from attempt(at, read_one, one, value, raw)
    if not found:
        yield noted(words(change.get("field"), 64) or "a change of no field", change)


def _message(told: Any, value: Piece, raw: Raw) -> Iterator[Item]:
    message = piece(told)
    kind = content.type_of(message)
    id, summary = named(message.get("id")), content.digest_of(message, kind)
    person = _person(message, value)
    if person is None and kind not in content.NOTICES:
        raise Unreadable("from is missing: nobody could be answered")
    context = part(message, "context")
    forwarded = True in (context.get("forwarded"), context.get("frequently_forwarded"))
    base = Item(
        "message",
        id or f"sha256:{summary}",
        summary,
        reason=trouble(message),
        conversation=named(message.get("group_id")) or (person.address if person else ""),
        person=person,
        sent_at=said_at(message.get("timestamp"), raw),
        also=_number(message, person),
        platform_id=id,
        reply_to=named(context.get("id")),
        flags=("it was forwarded: somebody else wrote it",) if forwarded else (),
    )
    yield content.filled(base, message, kind)


def _number(message: Piece, person: Person | None) -> tuple[str, ...]:
    """Give the number, where somebody is known by another name."""
    number = named(message.get("from"))
    return (number,) if number is not None and person and number != person.address else ()


def _person(message: Piece, value: Piece) -> Person | None:
    number, id = named(message.get("from")), named(message.get("from_user_id"))
    address = id or number
    if address is None:
        return None
    known = pieces(value, "contacts")
    theirs = [
        one
        for one in known
        if address in (named(one.get("user_id")), named(one.get("wa_id")))
        or (number is not None and named(one.get("wa_id")) == number)
    ]
    card = part((theirs or (known if len(known) == 1 else None) or [{}])[0], "profile")
    name = short(card.get("name")) or short(card.get("username"))
    return Person(address, name, phone=number)


def _status(told: Any, _: Piece, raw: Raw) -> Iterator[Item]:
    """What became of a message of ours; in a group, with one of its members."""
    status = piece(told)
    id, word = named(status.get("id")), words(status.get("status"), 64)
    if id is None or word is None:
        raise Unreadable("id or status is missing")
    member = named(status.get("recipient_participant_id"))
    external_id = joined(":", "status", id, word, member)
    if word not in STATES:
        yield Item("noted", external_id, digest(external_id), reason=f"status {word}")
        return
    group = status.get("recipient_type") == "group"
    person = named(status.get("recipient_user_id"))
    number = named(status.get("recipient_id"))
    talk = (None if group else person) or number or ""
    yield Item(
        "receipt",
        external_id,
        digest(external_id),
        reason=trouble(status),
        conversation=talk,
        also=(number,) if number and person == talk != number else (),
        sent_at=said_at(status.get("timestamp"), raw),
        about=id,
        reference=short(status.get("biz_opaque_callback_data")),
        state=STATES[word],
    )


def _error(told: Any, _: Piece, __: Raw) -> Iterator[Item]:
    """Trouble the platform has with us."""
    error = piece(told)
    yield noted(f"error {trouble({'errors': error}) or 'unknown'}", error)


def _echo(told: Any, _: Piece, raw: Raw) -> Iterator[Item]:
    """Somebody of ours wrote from the telephone; nothing is to be answered."""
    echo = piece(told)
    id, summary = named(echo.get("id")), digest_but_addresses(echo)
    yield Item(
        "noted",
        f"echo:{id or summary}",
        summary,
        reason="echo",
        conversation=named(echo.get("to_user_id")) or named(echo.get("to")) or "",
        sent_at=said_at(echo.get("timestamp"), raw),
        platform_id=id,
    )


READERS: MappingProxyType[str, Callable[[Any, Piece, Raw], Iterator[Item]]] = MappingProxyType(
    {"messages": _message, "statuses": _status, "errors": _error, "message_echoes": _echo}
)
"""By what a change has: whoever subscribes to one field is sent all of these in it."""
