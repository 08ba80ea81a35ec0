"""One module per channel, each one pure function: what a platform sent, as its items."""

from collections.abc import Callable, Sequence
from types import MappingProxyType

from ingest.adapters import api, custom, email, telegram
from ingest.adapters.item import Item, Raw, Unreadable

Adapter = Callable[[Raw], Sequence[Item]]

ADAPTERS: MappingProxyType[str, Adapter] = MappingProxyType(
    {"api": api.read, "custom": custom.read, "email": email.read, "telegram": telegram.read}
)


def read(raw: Raw) -> Sequence[Item]:
    """Read a delivery by its channel's rules; `Unreadable` when it can never be understood."""
    adapter = ADAPTERS.get(raw.channel)
    if adapter is None:
        raise Unreadable(f"no adapter for channel {raw.channel}")
    return adapter(raw)
