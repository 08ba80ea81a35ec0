"""Keeps what is sent from going inside: an address is looked up, judged, and then held to.

Only https on the usual ports to addresses anybody on the internet can reach, unless the instance
names networks of its own. The connection goes to the very address that was judged, whatever the
name means a moment later; its certificate must be the name's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx

from notify.transport.dns import Names

PORTS = frozenset({443, 8443})
NOT_SO = "only https on port 443 or 8443 leaves for outside"

PLATFORM = frozenset({IPv4Address("168.63.129.16")})
"""Reachable only from inside a cloud, though it looks like anybody's: the platform itself."""

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


class Forbidden(Exception):
    """Nothing is sent there; says why without the address."""


class NotKnown(Forbidden):
    """Its name means nothing now, and may later."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to connect to, and what to say there."""

    scheme: str
    host: str
    port: int
    name: str
    """The name its certificate must bear."""
    head: bytes
    """The request line and the host, ready to be written."""


class Outward:
    """Looks addresses up."""

    def __init__(self, inside: Sequence[Network] = ()) -> None:
        self._inside = tuple(inside)
        self._names = Names()

    async def place(self, url: str, *, trusted: bool = False) -> Place:
        """Give the place a URL means now; raises `Forbidden`."""
        try:
            at = httpx.URL(url)
            name = at.raw_host.decode("ascii")
        except (httpx.InvalidURL, UnicodeError):
            raise Forbidden("the address is not one") from None
        if at.scheme not in {"http", "https"} or not name or at.userinfo:
            raise Forbidden("the address is not one of the web's")
        port = at.port or (443 if at.scheme == "https" else 80)
        head = b"POST %s HTTP/1.1\r\nHost: %s\r\n" % (at.raw_path, at.netloc)
        if trusted:
            await self.known(name)
            return Place(at.scheme, name, port, name, head)
        host = await self._judged(name, port, secure=at.scheme == "https")
        return Place(at.scheme, host, port, name, head)

    async def known(self, name: str) -> list[str]:
        """Give the addresses a name means; raises `NotKnown` when there are none."""
        found = await self._names.mean(name)
        if not found:
            raise NotKnown("the name is not known")
        return found

    async def _judged(self, name: str, port: int, *, secure: bool) -> str:
        outside = secure and port in PORTS
        if not outside and not self._inside:
            raise Forbidden(NOT_SO)
        found = [ip_address(each.partition("%")[0]) for each in await self.known(name)]
        if all(self._ours(each) for each in found):
            return str(found[0])
        if not outside:
            raise Forbidden(NOT_SO)
        if not all(public(each) for each in found):
            raise Forbidden("the name means an address that is not public")
        return str(found[0])

    def _ours(self, address: Address) -> bool:
        return any(address in network for network in self._inside)


def public(address: Address) -> bool:
    """Tell whether an address is everybody's; one that carries another within it never is."""
    if isinstance(address, IPv6Address) and (address.sixtofour or address.teredo):
        return False
    special = address.is_multicast or address.is_reserved or address in PLATFORM
    return address.is_global and not special
