"""How conversations on Telegram are named: by the chat, and by what is apart within it."""

import re
from typing import NamedTuple

_NAME = re.compile(
    r"(?P<chat>[^:]+)(?::business:(?P<business>.+?))?(?::(?P<kind>topic|direct):(?P<number>[0-9]{1,19}))?"
)


class TelegramChat(NamedTuple):
    """Where one conversation of a bot takes place (core.telegram.org/bots/api#message).

    A customer's chat with the bot and those with businesses the bot works for have the same number;
    a forum's topics and the writers to a channel share one chat. Messages are numbered per chat and
    business connection, whatever the topic. The name of a plain chat is its number.
    """

    chat: str
    business: str | None = None
    """The `business_connection_id` on whose behalf the bot reads and writes."""
    topic: int | None = None
    """The `message_thread_id` of a forum's topic."""
    direct: int | None = None
    """The `topic_id` of a `direct_messages_topic`: one customer's talk with a channel."""

    @classmethod
    def named(cls, name: str) -> "TelegramChat":
        """Read a conversation's name; what is none of this form is a chat's."""
        found = _NAME.fullmatch(name)
        if found is None:
            return cls(name)
        number = None if found["number"] is None else int(found["number"])
        topic = number if found["kind"] == "topic" else None
        direct = number if found["kind"] == "direct" else None
        return cls(found["chat"], found["business"], topic, direct)

    @property
    def name(self) -> str:
        """The conversation's name."""
        parts = (("business", self.business), ("topic", self.topic), ("direct", self.direct))
        told = (f":{kind}:{value}" for kind, value in parts if value is not None)
        return self.chat + "".join(told)

    @property
    def numbered(self) -> "TelegramChat":
        """The chat within which its messages are numbered."""
        return TelegramChat(self.chat, self.business)
