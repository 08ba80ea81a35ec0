"""The one rule by which ids are derived from what the outside world calls things."""

from uuid import UUID, uuid5

from trunkline_contracts.addresses import mail_address
from trunkline_contracts.fact import NAMESPACE
from trunkline_contracts.parts import Contact

MANY = frozenset({"email", "api", "form"})
"""Channels on which one contact may have several conversations at a time."""


def contact_id(channel: str, account: str, address: str) -> UUID:
    """Derive the id of whoever has this address (chat, phone, e-mail) at a channel's account.

    An e-mail address may be written in any of its forms.
    """
    known = mail_address(address) if channel == "email" else address
    return _derived("contact", channel, account, known)


def conversation_key(channel: str, account: str, conversation: str) -> str:
    """Derive the key of a conversation from its platform's name for it; it names nobody."""
    return str(_derived("conversation", channel, account, conversation))


def conversation_name(
    request_id: UUID, channel: str, conversation: str | None, contact: Contact
) -> str:
    """Name the conversation of a request that somebody of ours opened, or answers.

    Its own, if it has one; else the request is a conversation by itself where a contact may have
    several, and elsewhere the contact's only one.
    """
    return conversation or (
        str(request_id) if channel in MANY else contact.address or str(contact.id)
    )


def message_id(channel: str, account: str, external_id: str) -> UUID:
    """Derive a message's id from the platform's; however often delivered, it is one message."""
    return _derived("message", channel, account, external_id)


def acknowledgement_id(message_id: UUID) -> UUID:
    """Derive the id of the acknowledgement that a message was received; there is one at most."""
    return uuid5(message_id, "acknowledgement")


def mail_id(message_id: UUID, address: str) -> str:
    """Give the Message-ID under which a message leaves from this address; always the same."""
    return f"<{message_id}@{address.rpartition('@')[2]}>"


def _derived(kind: str, *names: str) -> UUID:
    return uuid5(NAMESPACE, "\n".join((kind, *names)))
