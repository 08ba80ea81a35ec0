"""Ids derived from the names that platforms use: the same name always has the same id."""

from uuid import UUID, uuid5

from trunkline_contracts.addresses import mail_address
from trunkline_contracts.fact import NAMESPACE
from trunkline_contracts.parts import Contact

MULTI_CONVERSATION_CHANNELS = frozenset({"email", "api", "form"})
"""Channels on which a contact may have several conversations at a time."""


def contact_id(channel: str, account: str, address: str) -> UUID:
    """Return the id of the contact with this address (chat, phone, e-mail) at an account.

    All spellings of one e-mail address have the same id.
    """
    canonical = mail_address(address) if channel == "email" else address
    return _derived("contact", channel, account, canonical)


def conversation_key(channel: str, account: str, conversation: str) -> str:
    """Return the key of a conversation, from its platform's name; the key shows no address."""
    return str(_derived("conversation", channel, account, conversation))


def conversation_name(
    request_id: UUID, channel: str, conversation: str | None, contact: Contact
) -> str:
    """Return the name of a request's conversation, when an operator opens or answers it.

    `conversation`, if there is one. Else the request's own id on channels where a contact may have
    several conversations, and the contact's address (or id) on the others.
    """
    return conversation or (
        str(request_id)
        if channel in MULTI_CONVERSATION_CHANNELS
        else contact.address or str(contact.id)
    )


def message_id(channel: str, account: str, external_id: str) -> UUID:
    """Return a message's id, from the platform's id; repeated deliveries have the same id."""
    return _derived("message", channel, account, external_id)


def acknowledgement_id(message_id: UUID) -> UUID:
    """Return the id of a message's acknowledgement; a message has at most one."""
    return uuid5(message_id, "acknowledgement")


def mail_id(message_id: UUID, address: str) -> str:
    """Return the Message-ID of a message sent from this address; it never changes."""
    return f"<{message_id}@{address.rpartition('@')[2]}>"


def _derived(kind: str, *names: str) -> UUID:
    return uuid5(NAMESPACE, "\n".join((kind, *names)))
