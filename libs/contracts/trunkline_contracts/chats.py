"""Names of Telegram conversations: the chat, and a separate conversation within it."""

import re
from typing import NamedTuple

_NAME = re.compile(
    r"(?P<chat>[^:]+)(?::business:(?P<business>.+?))?(?::(?P<kind>topic|direct):(?P<number>[0-9]{1,19}))?"
)


class TelegramChat(NamedTuple):
    """The place of one conversation of a bot (core.telegram.org/bots/api#message).

    A customer's chats with the bot and with the businesses it works for have the same chat id. The
    topics of a forum, and the customers who write to a channel, share one chat. Messages are
    numbered per chat and business connection. The name of a plain chat is its id.
    """

    chat: str
    business: str | None = None
    """The `business_connection_id` on whose behalf the bot reads and writes."""
    topic: int | None = None
    """The `message_thread_id` of a forum's topic."""
    direct: int | None = None
    """The `topic_id` of a `direct_messages_topic`: one customer's messages to a channel."""

    @classmethod
    def from_name(cls, name: str) -> "TelegramChat":
        """Parse a conversation's name; a name of any other form is taken as a chat id."""
        match = _NAME.fullmatch(name)
        if match is None:
            return cls(name)
        number = None if match["number"] is None else int(match["number"])
        topic = number if match["kind"] == "topic" else None
        direct = number if match["kind"] == "direct" else None
        return cls(match["chat"], match["business"], topic, direct)

    @property
    def name(self) -> str:
        """The name of the conversation."""
        parts = (("business", self.business), ("topic", self.topic), ("direct", self.direct))
        suffixes = (f":{kind}:{value}" for kind, value in parts if value is not None)
        return self.chat + "".join(suffixes)

    @property
    def message_scope(self) -> "TelegramChat":
        """The chat and business connection within which message ids are unique."""
        return TelegramChat(self.chat, self.business)
