"""Bans of contacts, addresses and networks.

A ban is named in `GET|PUT|DELETE /v1/bans/{contact}` by a contact's id; by an IP address or network
(`203.0.113.7`, `203.0.113.0/24`, `2001:db8::/32`); or by an address, e-mail address or phone
number, on every channel (`ann@example.test`, `+380671112233`) or one (`telegram:7`). Bans are
stored in one normalized form, and authors are looked up by the same form: a platform's user name
may look like an id or a network, too.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal
from uuid import UUID

from ingest.domain.items import Person
from trunkline_contracts.addresses import mail_address, phone_number

Network = IPv4Network | IPv6Network
BanKind = Literal["contact", "address", "network"]
MAX_BAN_CHARS = 255
CHANNELS = frozenset(
    {
        "api",
        "custom",
        "email",
        "form",
        "instagram",
        "messenger",
        "telegram",
        "telephony",
        "viber",
        "whatsapp",
        "widget",
    }
)
"""Channels an address may be banned on: those with a parser in `ingest.channels`."""
PHONE_CHANNELS = frozenset({"whatsapp", "telephony"})
"""Channels whose addresses are phone numbers, with or without a plus."""
MAPPED_PREFIX_BITS = 96
"""Bits before an IPv4 address in an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2)."""
_INTERNATIONAL = re.compile(r"\+[1-9][0-9]{6,14}")
_PHONE_NUMBER = re.compile(r"(?:\+|00)?([1-9][0-9]{6,14})")


@dataclass(frozen=True, slots=True)
class Ban:
    """A ban in its normalized form."""

    kind: BanKind
    name: str


def parse_ban(text: str) -> Ban:
    """Read a ban from a path; raises ValueError if it is empty, too long or not printable."""
    text = text.strip()
    if not 0 < len(text) <= MAX_BAN_CHARS or not text.isprintable():
        raise ValueError(f"must be 1 to {MAX_BAN_CHARS} printable characters")
    return normalize_ban(text)


def normalize_ban(text: str) -> Ban:
    """Return the normalized form of a ban, also of one stored in an older form."""
    channel, _, address = text.partition(":")
    if channel.lower() in CHANNELS and address.strip():
        return Ban("address", f"{channel.lower()}:{_without_channel(address).name}")
    return _without_channel(text)


def _without_channel(text: str) -> Ban:
    """Read a contact id, a network, or an address on every channel."""
    text = text.strip()
    try:
        return Ban("contact", str(UUID(text)))
    except ValueError:
        pass
    try:
        return Ban("network", str(_unmapped(ip_network(text, strict=False))))
    except ValueError:
        return Ban("address", _normalized_address(text))


def _unmapped(network: Network) -> Network:
    """Return an IPv4-mapped IPv6 network as the IPv4 network."""
    if isinstance(network, IPv6Network) and network.prefixlen >= MAPPED_PREFIX_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - MAPPED_PREFIX_BITS))
    return network


def _normalized_address(address: str) -> str:
    """Return the normalized form of an e-mail address or phone number, else lower case."""
    if "@" in address:
        return mail_address(address)
    number = phone_number(address)
    return number if _INTERNATIONAL.fullmatch(number) else address.lower()


def ban_names(channel: str, person: Person) -> Iterator[str]:
    """Yield every name under which an author may be banned, on one channel or on all."""
    for address in filter(None, (person.address, person.email, person.phone)):
        yield _without_channel(address).name
    for number in (person.address if channel in PHONE_CHANNELS else None, person.phone):
        found = _PHONE_NUMBER.fullmatch(phone_number(number)) if number else None
        if found is not None:
            yield from (found[1], f"+{found[1]}")


@dataclass(frozen=True, slots=True)
class BanSet:
    """The bans in force."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    version: int = field(default=0, compare=False)

    @classmethod
    def from_bans(cls, bans: Iterable[Ban], version: int = 0) -> "BanSet":
        """Collect bans into a set."""
        all_bans = list(bans)
        return cls(
            frozenset(ban.name for ban in all_bans),
            tuple(ip_network(ban.name) for ban in all_bans if ban.kind == "network"),
            version,
        )

    def matches(self, contact: UUID | None, channel: str, person: Person) -> bool:
        """Return whether an author is banned."""
        if not self.names:
            return False
        return str(contact) in self.names or any(
            name in self.names or f"{channel}:{name}" in self.names
            for name in ban_names(channel, person)
        )

    def blocks_host(self, host: str | None) -> bool:
        """Return whether deliveries from this IP address are refused."""
        if not self.networks or host is None:
            return False
        try:
            address = ip_address(host)
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        candidates = (address,) if mapped is None else (address, mapped)
        return any(candidate in network for network in self.networks for candidate in candidates)
