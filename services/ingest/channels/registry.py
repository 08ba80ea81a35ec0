"""One module per channel, each one pure function: what a platform sent, as its items."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import MappingProxyType

from ingest.channels.connectiveone import parser as connectiveone
from ingest.channels.custom import parser as custom
from ingest.channels.email import message as email
from ingest.channels.http_api import parser as http_api
from ingest.channels.meta import instagram, messenger, whatsapp
from ingest.channels.parsing import MAX_TEXT_CHARS, ParsedItem
from ingest.channels.telegram import updates as telegram
from ingest.channels.telephony import parser as telephony
from ingest.channels.viber import parser as viber
from ingest.channels.web import parser as page
from ingest.domain.items import InboundItem, RawDelivery, Unreadable

MAX_ATTACHMENTS = 50
"""Attachments and cards of a message, and of each no more."""

Parser = Callable[[RawDelivery], Sequence[ParsedItem]]


def _read_custom(raw: RawDelivery) -> Sequence[InboundItem]:
    """A custom channel speaks our own form, or ConnectiveOne's."""
    return connectiveone.read(raw) if connectiveone.is_update(raw) else custom.read(raw)


PARSERS: MappingProxyType[str, Parser] = MappingProxyType(
    {
        "api": http_api.read,
        "custom": _read_custom,
        "email": email.read,
        "form": page.read_form,
        "instagram": instagram.read,
        "messenger": messenger.read,
        "telegram": telegram.read,
        "telephony": telephony.read,
        "viber": viber.read,
        "whatsapp": whatsapp.read,
        "widget": page.read_widget,
    }
)


def read(raw: RawDelivery) -> Sequence[ParsedItem]:
    """Read a delivery by its channel's rules; `Unreadable` when it can never be understood."""
    adapter = PARSERS.get(raw.channel)
    if adapter is None:
        raise Unreadable(f"no adapter for channel {raw.channel}")
    return tuple(map(_limited, adapter(raw)))


def _limited(read: ParsedItem) -> ParsedItem:
    """Leave out what is more than a message has, and say so: its sender was told it is here."""
    if isinstance(read, Unreadable):
        return read
    flags: list[str] = []
    if len(read.text) > MAX_TEXT_CHARS:
        flags.append(f"text may have {MAX_TEXT_CHARS} characters")
    if len(read.attachments) > MAX_ATTACHMENTS:
        flags.append(f"there may be {MAX_ATTACHMENTS} attachments")
    if len(read.cards) > MAX_ATTACHMENTS:
        flags.append(f"there may be {MAX_ATTACHMENTS} contacts")
    if not flags:
        return read
    return replace(
        read,
        text=read.text[:MAX_TEXT_CHARS],
        attachments=read.attachments[:MAX_ATTACHMENTS],
        cards=read.cards[:MAX_ATTACHMENTS],
        flags=(*read.flags, *flags),
    )
