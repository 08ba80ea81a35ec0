"""Keeps deliveries from being sent inside: an address is looked up, judged, and then held to.

Only https on the usual ports to addresses anybody on the internet can reach, unless the instance
names networks of its own. The connection goes to the very address that was judged, whatever the
name means a moment later; its certificate must be the name's.
"""

import asyncio
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx

PORTS = frozenset({443, 8443})
KEEP = 10.0
"""Seconds for which a name keeps the meaning it had."""
KNOWN_NAMES = 1000
LOOK_UP = 5.0
NOT_SO = "only https on port 443 or 8443 leaves for outside"

PLATFORM = frozenset({IPv4Address("168.63.129.16")})
"""Reachable only from inside a cloud, though it looks like anybody's: the platform itself."""

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


class Forbidden(Exception):
    """Nothing is sent there; says why without the address."""


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
        self._known: dict[tuple[str, int], tuple[float, list[str]]] = {}

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
        host = name if trusted else await self._judged(name, port, secure=at.scheme == "https")
        return Place(at.scheme, host, port, name, head)

    async def _judged(self, name: str, port: int, *, secure: bool) -> str:
        outside = secure and port in PORTS
        if not outside and not self._inside:
            raise Forbidden(NOT_SO)
        found = [ip_address(each.partition("%")[0]) for each in await self._look_up(name, port)]
        if not found:
            raise Forbidden("the name means no address")
        if all(self._ours(each) for each in found):
            return str(found[0])
        if not outside:
            raise Forbidden(NOT_SO)
        if not all(public(each) for each in found):
            raise Forbidden("the name means an address that is not public")
        return str(found[0])

    def _ours(self, address: Address) -> bool:
        return any(address in network for network in self._inside)

    async def _look_up(self, name: str, port: int) -> list[str]:
        now = time.monotonic()
        known = self._known.get((name, port))
        if known is not None and now - known[0] < KEEP:
            return known[1]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(LOOK_UP):
                told = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError):
            raise Forbidden("the name is not known") from None
        found = [str(sockaddr[0]) for *_, sockaddr in told]
        if len(self._known) > KNOWN_NAMES:
            self._known.clear()
        self._known[name, port] = (now, found)
        return found


def public(address: Address) -> bool:
    """Tell whether an address is everybody's; one that carries another within it never is."""
    if isinstance(address, IPv6Address) and (address.sixtofour or address.teredo):
        return False
    special = address.is_multicast or address.is_reserved or address in PLATFORM
    return address.is_global and not special
