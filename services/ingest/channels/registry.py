"""The parser of each channel, and the limits all of them share."""

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
"""Attachments of one message, and as many contact cards."""

Parser = Callable[[RawDelivery], Sequence[ParsedItem]]


def _read_custom(raw: RawDelivery) -> Sequence[InboundItem]:
    """Read a delivery of a custom channel: in our own format or ConnectiveOne's."""
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
    """Read a delivery with its channel's parser; raises `Unreadable` if it can never be
    understood."""
    adapter = PARSERS.get(raw.channel)
    if adapter is None:
        raise Unreadable(f"no parser for channel {raw.channel}")
    return tuple(map(_limited, adapter(raw)))


def _limited(read: ParsedItem) -> ParsedItem:
    """Cut what exceeds a message's limits, and flag it: the delivery has been accepted already."""
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
