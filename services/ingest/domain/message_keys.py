"""Keys by which a message of a platform is found again.

A platform names a message by an id of its own. Where the ids of its deliveries and of its messages
are the same, the message id derived from it is enough. Elsewhere the platform's id is unique only
within a conversation: Telegram's `message_id` is unique inside its chat
(core.telegram.org/bots/api#message) and may equal another update's number by chance.
"""

from typing import Final
from uuid import UUID, uuid5

from ingest.domain.items import InboundItem, ItemKind
from trunkline_contracts.chats import TelegramChat
from trunkline_contracts.ids import conversation_key, message_id

UPDATE_KINDS: Final[frozenset[ItemKind]] = frozenset({"edited", "deleted", "reacted", "receipt"})
"""Items that refer to another message: message updates."""
CHANNELS_NUMBERING_PER_CHAT: Final = frozenset({"telegram"})
"""Channels whose message ids are unique only within a conversation."""


def numbering_key(channel: str, account: str, conversation: str) -> UUID:
    """Return the key of the scope in which a conversation's message ids are unique.

    It is the conversation itself, except for parts of a Telegram chat that share its numbers.
    """
    if channel == "telegram" and ":" in conversation:
        conversation = TelegramChat.from_name(conversation).message_scope.name
    return UUID(conversation_key(channel, account, conversation))


def message_key(numbering: UUID, platform_id: str) -> UUID:
    """Return the key of a message by its platform id within a numbering scope."""
    return uuid5(numbering, platform_id)


def target_keys(
    channel: str, account: str, numbering: UUID | None, item: InboundItem
) -> tuple[UUID, ...]:
    """Return the keys of the message an update refers to, the most reliable first."""
    if item.kind not in UPDATE_KINDS:
        return ()
    keys = [_uuid(item.reference)] if item.reference else []
    if item.about:
        per_chat = channel in CHANNELS_NUMBERING_PER_CHAT
        keys.append(None if per_chat else message_id(channel, account, item.about))
        keys.append(message_key(numbering, item.about) if numbering else None)
    return tuple(key for key in keys if key is not None)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
