"""Who may not write to us: a contact, an address on one channel or all, or a network.

How it is said (`GET|PUT|DELETE /v1/bans/{contact}`): a contact's id; an IP address or a network
(`203.0.113.7`, `203.0.113.0/24`, `2001:db8::/32`); or an address, which is a contact's, an e-mail
address or a phone number, on every channel (`ann@example.test`, `+380671112233`) or one
(`telegram:7`). What is banned is kept in one form, and whoever writes is looked up in the same:
what looks like an id or a network may be a platform's name of somebody, too.
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
What = Literal["contact", "address", "network"]
LONGEST = 255
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
NUMBERED = frozenset({"whatsapp", "telephony"})
"""Channels whose addresses are phone numbers, with or without a plus."""
MAPPED = 96
"""Bits before an IPv4 address that is written as an IPv6 one (RFC 4291, 2.5.5.2)."""
_INTERNATIONAL = re.compile(r"\+[1-9][0-9]{6,14}")
_NUMBER = re.compile(r"(?:\+|00)?([1-9][0-9]{6,14})")


@dataclass(frozen=True, slots=True)
class Banned:
    """What a ban is of, in the one form it is kept in."""

    what: What
    name: str


def understood(told: str) -> Banned:
    """Read what a ban is of; raises ValueError when that is nothing anybody could have."""
    told = told.strip()
    if not 0 < len(told) <= LONGEST or not told.isprintable():
        raise ValueError(f"must be 1 to {LONGEST} printable characters")
    return kept(told)


def kept(told: str) -> Banned:
    """Give the form a ban is kept in, also of one that was kept in another."""
    channel, _, address = told.partition(":")
    if channel.lower() in CHANNELS and address.strip():
        return Banned("address", f"{channel.lower()}:{_anywhere(address).name}")
    return _anywhere(told)


def _anywhere(told: str) -> Banned:
    """Read what stands for somebody, or a network, without its channel."""
    told = told.strip()
    try:
        return Banned("contact", str(UUID(told)))
    except ValueError:
        pass
    try:
        return Banned("network", str(_plain(ip_network(told, strict=False))))
    except ValueError:
        return Banned("address", _known(told))


def _plain(network: Network) -> Network:
    """Give a network of IPv4 addresses as one, however it is written."""
    if isinstance(network, IPv6Network) and network.prefixlen >= MAPPED:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - MAPPED))
    return network


def _known(address: str) -> str:
    """Give the form of an address: an e-mail address's, a phone number's from its plus on."""
    if "@" in address:
        return mail_address(address)
    number = phone_number(address)
    return number if _INTERNATIONAL.fullmatch(number) else address.lower()


def names_of(channel: str, person: Person) -> Iterator[str]:
    """Give every name under which somebody who wrote may be banned, on that channel or on all."""
    for told in filter(None, (person.address, person.email, person.phone)):
        yield _anywhere(told).name
    for number in (person.address if channel in NUMBERED else None, person.phone):
        found = _NUMBER.fullmatch(phone_number(number)) if number else None
        if found is not None:
            yield from (found[1], f"+{found[1]}")


@dataclass(frozen=True, slots=True)
class Bans:
    """All who are banned."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    version: int = field(default=0, compare=False)

    @classmethod
    def of(cls, banned: Iterable[Banned], version: int = 0) -> "Bans":
        """Have at hand what is banned."""
        every = list(banned)
        return cls(
            frozenset(each.name for each in every),
            tuple(ip_network(each.name) for each in every if each.what == "network"),
            version,
        )

    def hit(self, contact: UUID | None, channel: str, person: Person) -> bool:
        """Whether whoever wrote is banned."""
        if not self.names:
            return False
        return str(contact) in self.names or any(
            name in self.names or f"{channel}:{name}" in self.names
            for name in names_of(channel, person)
        )

    def shut_out(self, host: str | None) -> bool:
        """Whether nothing may come in from there."""
        if not self.networks or host is None:
            return False
        try:
            address = ip_address(host)
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        seen = (address,) if mapped is None else (address, mapped)
        return any(each in network for network in self.networks for each in seen)
