"""ConnectiveOne's custom-channel payload: one update per delivery.

docs.connectiveone.io/en/integrations/how-to/custom-channel/integrate-via-custom-channel.html

Its first message must be `/start`, which begins a bot's dialog before the customer has written
anything: here it is noted, and the message after it opens the request.
"""

from typing import Any

from ingest.channels.parsing import SHORT, digest, instant_of, named, parse, part, words
from ingest.domain.items import Item, Person, Raw, Unreadable

BEGIN = "/start"
FORM = "connectiveone"
"""What the door says of a delivery that it let in as an update."""


def is_update(raw: Raw) -> bool:
    """Tell whether a custom channel's delivery has this form rather than our own.

    The door says so; what says nothing of it is taken for one by its body.
    """
    if raw.form:
        return raw.form == FORM
    return _looks_like_one(raw.body)


def _looks_like_one(body: bytes) -> bool:
    if b"update_id" not in body:
        return False
    try:
        said = parse(body)
    except Unreadable:
        return False
    return "update_id" in said and "contact" not in said


def read(raw: Raw) -> tuple[Item, ...]:
    """Read one update; `from.id` may be a number or a text, for the platform writes both."""
    update = parse(raw.body)
    number = named(update.get("update_id"))
    if number is None:
        raise Unreadable("update_id is missing, or neither a number nor a text")
    external_id, told = f"update:{number}", digest(update)
    said = update.get("message")
    if not isinstance(said, dict):
        kind = next((key for key in update if key != "update_id"), "empty update")
        reason = words(kind, 64) or "empty update"
        return (Item("noted", external_id, told, reason=reason),)
    sender = part(said, "from")
    user = named(sender.get("id"))
    chat = named(part(said, "chat").get("id")) or user
    if chat is None:
        raise Unreadable("message.from.id and message.chat.id are missing: whose is it?")
    text = words(said.get("text"))
    begins = text is not None and text.split(maxsplit=1)[0] == BEGIN
    at = instant_of(said.get("date"))
    return (
        Item(
            "noted" if begins else "message",
            external_id,
            told,
            reason="/start begins the dialog; nothing was asked yet" if begins else None,
            conversation=chat,
            person=_person(sender, user or chat),
            text=text or f"[{words(said.get('type'), 64) or 'message'}]",
            sent_at=None if at is None else min(at, raw.received_at),
            platform_id=named(said.get("message_id")) or number,
        ),
    )


def _person(sender: dict[str, Any], address: str) -> Person:
    names = (words(sender.get("first_name"), SHORT), words(sender.get("last_name"), SHORT))
    name = " ".join(filter(None, names)) or words(sender.get("dialog_name"), SHORT)
    return Person(
        address,
        name or words(sender.get("username"), SHORT),
        words(sender.get("language_code"), 35),
        phone=words(sender.get("phone"), SHORT),
    )
