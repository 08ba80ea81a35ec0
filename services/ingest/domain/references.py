"""What is said about messages: edits, deletions, reactions and receipts, and how they find them.

A platform names a message by an id of its own. Where deliveries of it are known by the same id,
that is enough; elsewhere it is a name within a conversation only: Telegram's `message_id` is unique
inside its chat (core.telegram.org/bots/api#message), and equals some update's number by chance.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid5

from ingest.domain.items import Item, Kind
from trunkline_contracts.chats import TelegramChat
from trunkline_contracts.ids import conversation_key, message_id
from trunkline_contracts.parts import DeliveryState

REMARKS: Final[frozenset[Kind]] = frozenset({"edited", "deleted", "reacted", "receipt"})
PATIENCE: Final = timedelta(hours=24)
"""How long a remark waits for the message it is about."""
ROOM: Final = 10_000
"""How many remarks of one account may wait, and as many receipts."""
LAG: Final = timedelta(seconds=5)
"""How long after a message was on its way it may be known here that it was."""

WAITS: Final = "waits for the message it is about"
TOO_LATE: Final = "the message it is about did not come within 24 hours"
TOO_MANY: Final = "the message it is about is not known, and too many others wait"

PER_CHAT: Final = frozenset({"telegram"})
"""Channels whose ids of messages say nothing outside of their conversation."""

_RANK: Final[dict[DeliveryState, int]] = {"sent": 0, "delivered": 1, "read": 2}


@dataclass(slots=True)
class Known:
    """A message remarks may be about: a customer's, or ours."""

    id: UUID
    request_id: UUID
    ours: bool = False
    conversation: UUID | None = None
    platform: UUID | None = None
    """Of ours: its name on the platform, among those numbered together."""
    written_at: datetime | None = None
    sent_at: datetime | None = None
    state: DeliveryState | None = None

    def advances(self, state: DeliveryState) -> bool:
        """Whether this is news of ours: it has come further than was known, or failed."""
        if self.state is None or "failed" in (state, self.state):
            return state != self.state
        return _RANK[state] > _RANK[self.state]

    def covered(self, until: datetime) -> bool:
        """Whether a receipt of everything until then may be about it, once it is on its way."""
        return self.ours and self.written_at is not None and self.written_at <= until

    def was_out(self, until: datetime) -> bool:
        """Whether it was on its way then."""
        return self.sent_at is not None and self.sent_at - LAG <= until


def counted_in(channel: str, account: str, conversation: str) -> UUID:
    """Give the key of that within which a conversation's messages are numbered: mostly itself."""
    if channel == "telegram" and ":" in conversation:
        conversation = TelegramChat.named(conversation).numbered.name
    return UUID(conversation_key(channel, account, conversation))


def name_in(counted: UUID, platform_id: str) -> UUID:
    """Give the key of a message by its name among those that are numbered together."""
    return uuid5(counted, platform_id)


def names_about(channel: str, account: str, counted: UUID | None, item: Item) -> tuple[UUID, ...]:
    """Give the keys under which the message a remark is about may be known, the surest first."""
    if item.kind not in REMARKS:
        return ()
    names = [_uuid(item.reference)] if item.reference else []
    if item.about:
        names.append(None if channel in PER_CHAT else message_id(channel, account, item.about))
        names.append(name_in(counted, item.about) if counted else None)
    return tuple(name for name in names if name is not None)


def _uuid(told: str) -> UUID | None:
    try:
        return UUID(told)
    except ValueError:
        return None
