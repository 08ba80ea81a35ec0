"""Who may not write to us: a contact, an address on one channel or all, or a network.

How it is said (`GET|PUT|DELETE /v1/bans/{contact}`): a contact's id; an IP address or a network
(`203.0.113.7`, `203.0.113.0/24`, `2001:db8::/32`); or an address, which is a contact's, an e-mail
address or a phone number, on every channel (`ann@example.test`) or one (`telegram:7`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Literal
from uuid import UUID

from ingest.adapters.item import Person

Network = IPv4Network | IPv6Network
What = Literal["contact", "address", "network"]
LONGEST = 255


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
    try:
        return Banned("contact", str(UUID(told)))
    except ValueError:
        pass
    try:
        return Banned("network", str(ip_network(told, strict=False)))
    except ValueError:
        return Banned("address", told.lower())


@dataclass(frozen=True, slots=True)
class Bans:
    """All who are banned."""

    contacts: frozenset[UUID] = frozenset()
    addresses: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    version: int = field(default=0, compare=False)

    @classmethod
    def of(cls, banned: Iterable[Banned], version: int = 0) -> "Bans":
        """Sort what is banned by what it is."""
        every = list(banned)
        return cls(
            frozenset(UUID(each.name) for each in every if each.what == "contact"),
            frozenset(each.name for each in every if each.what == "address"),
            tuple(ip_network(each.name) for each in every if each.what == "network"),
            version,
        )

    def hit(self, contact: UUID | None, channel: str, person: Person) -> bool:
        """Whether whoever wrote is banned."""
        if contact in self.contacts:
            return True
        if not self.addresses:
            return False
        names = {name.lower() for name in (person.address, person.email, person.phone) if name}
        return any(
            name in self.addresses or f"{channel}:{name}" in self.addresses for name in names
        )

    def shut_out(self, host: str | None) -> bool:
        """Whether nothing may come in from there."""
        if not self.networks or host is None:
            return False
        try:
            address = ip_address(host)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self.networks)
