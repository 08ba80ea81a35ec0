"""One module per channel, each one pure function: what a platform sent, as its items."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import MappingProxyType

from ingest.channels.connectiveone import parser as connectiveone
from ingest.channels.custom import parser as custom
from ingest.channels.email import message as email
from ingest.channels.http_api import parser as http_api
from ingest.channels.meta import instagram, messenger, whatsapp
from ingest.channels.parsing import LONGEST
from ingest.channels.telegram import updates as telegram
from ingest.channels.telephony import parser as telephony
from ingest.channels.viber import parser as viber
from ingest.channels.web import parser as page
from ingest.domain.items import Item, Raw, Unreadable

MOST = 50
"""Attachments and cards of a message, and of each no more."""

Read = Item | Unreadable
"""An item, or why this one of several cannot be understood; the others are not lost with it."""
Adapter = Callable[[Raw], Sequence[Read]]


def _custom(raw: Raw) -> Sequence[Item]:
    """A custom channel speaks our own form, or ConnectiveOne's."""
    return connectiveone.read(raw) if connectiveone.is_update(raw) else custom.read(raw)


ADAPTERS: MappingProxyType[str, Adapter] = MappingProxyType(
    {
        "api": http_api.read,
        "custom": _custom,
        "email": email.read,
        "form": page.form,
        "instagram": instagram.read,
        "messenger": messenger.read,
        "telegram": telegram.read,
        "telephony": telephony.read,
        "viber": viber.read,
        "whatsapp": whatsapp.read,
        "widget": page.widget,
    }
)


def read(raw: Raw) -> Sequence[Read]:
    """Read a delivery by its channel's rules; `Unreadable` when it can never be understood."""
    adapter = ADAPTERS.get(raw.channel)
    if adapter is None:
        raise Unreadable(f"no adapter for channel {raw.channel}")
    return tuple(map(_bounded, adapter(raw)))


def _bounded(read: Read) -> Read:
    """Leave out what is more than a message has, and say so: its sender was told it is here."""
    if isinstance(read, Unreadable):
        return read
    flags: list[str] = []
    if len(read.text) > LONGEST:
        flags.append(f"text may have {LONGEST} characters")
    if len(read.attachments) > MOST:
        flags.append(f"there may be {MOST} attachments")
    if len(read.cards) > MOST:
        flags.append(f"there may be {MOST} contacts")
    if not flags:
        return read
    return replace(
        read,
        text=read.text[:LONGEST],
        attachments=read.attachments[:MOST],
        cards=read.cards[:MOST],
        flags=(*read.flags, *flags),
    )
