"""SSRF guard: resolve a host, reject private addresses, connect to the resolved address only.

Only https on the usual ports to public addresses is allowed, except to the instance's internal
networks. The connection goes to the address that was checked, even if the name resolves to another
one a moment later; the certificate must be the name's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import Final

import httpx

from notify.transport.dns import Resolver

PUBLIC_PORTS = frozenset({443, 8443})
HTTPS_ONLY = "only https on port 443 or 8443 leaves for outside"

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

REFUSED_IPV4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private use
        "100.64.0.0/10",  # shared between a provider and its customers
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's own platform, reachable from inside only; in no registry
        "169.254.0.0/16",  # link local, cloud metadata
        "172.16.0.0/12",  # private use
        "192.0.0.0/24",  # IETF protocols; 192.0.0.192 is Oracle Cloud's metadata
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private use
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, limited broadcast
    )
)
"""IANA's IPv4 Special-Purpose Address Registry as of 2024-10, with its globally reachable ranges.

https://www.iana.org/assignments/iana-ipv4-special-registry; multicast is from RFC 5771.
The list is kept here because `ipaddress` differs between Python's patch releases."""

GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
"""The IPv6 addresses that IANA allocates (RFC 4291, section 2.4).

Outside it: ::/8 with loopback, mapped (::ffff:0:0/96) and translated addresses (64:ff9b::/96,
64:ff9b:1::/48), 100::/64 discard, 5f00::/16 segment routing, fc00::/7 unique local, fe80::/10 link
local, fec0::/10 site local, ff00::/8 multicast."""

REFUSED_IPV6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocols: Teredo, benchmarking, ORCHID, AMT, AS112
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which carries an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
"""IANA's IPv6 Special-Purpose Address Registry as of 2024-10, within `GLOBAL_UNICAST`.

https://www.iana.org/assignments/iana-ipv6-special-registry"""


class EgressForbidden(Exception):
    """The target is not allowed; the message gives the reason without the address."""


class HostNotFound(EgressForbidden):
    """The host has no address now, and may have one later."""


@dataclass(frozen=True, slots=True)
class Target:
    """The address to connect to, and the start of the request."""

    scheme: str
    host: str
    port: int
    name: str
    """The name that the certificate must have."""
    head: bytes
    """The request line and the `Host` header."""


class EgressPolicy:
    """Decides which URLs may be sent to; `internal_networks` are allowed too."""

    def __init__(self, internal_networks: Sequence[Network] = ()) -> None:
        self._internal_networks = tuple(internal_networks)
        self._resolver = Resolver()

    async def target_of(self, url: str, *, trusted: bool = False) -> Target:
        """Return the target of a URL; raise `EgressForbidden` when it is not allowed.

        A `trusted` URL, of a platform or the sink, may have any address.
        """
        try:
            parsed = httpx.URL(url)
            name = parsed.raw_host.decode("ascii")
        except (httpx.InvalidURL, UnicodeError):
            raise EgressForbidden("the address is not a URL") from None
        if parsed.scheme not in {"http", "https"} or not name or parsed.userinfo:
            raise EgressForbidden("the address is not an http or https URL")
        port = parsed.port or (443 if parsed.scheme == "https" else 80)
        head = b"POST %s HTTP/1.1\r\nHost: %s\r\n" % (parsed.raw_path, parsed.netloc)
        if trusted:
            await self.addresses_of(name)
            return Target(parsed.scheme, name, port, name, head)
        host = await self._permitted_address(name, port, secure=parsed.scheme == "https")
        return Target(parsed.scheme, host, port, name, head)

    async def addresses_of(self, name: str) -> list[str]:
        """Return the addresses of a name; raise `HostNotFound` when there are none."""
        addresses = await self._resolver.resolve(name)
        if not addresses:
            raise HostNotFound("the name is not known")
        return addresses

    async def _permitted_address(self, name: str, port: int, *, secure: bool) -> str:
        outside = secure and port in PUBLIC_PORTS
        if not outside and not self._internal_networks:
            raise EgressForbidden(HTTPS_ONLY)
        addresses = [ip_address(each.partition("%")[0]) for each in await self.addresses_of(name)]
        if all(self._is_internal(each) for each in addresses):
            return str(addresses[0])
        if not outside:
            raise EgressForbidden(HTTPS_ONLY)
        if not all(is_public(each) for each in addresses):
            raise EgressForbidden("the host has an address that is not public")
        return str(addresses[0])

    def _is_internal(self, address: Address) -> bool:
        return any(address in network for network in self._internal_networks)


def is_public(address: Address) -> bool:
    """Return whether an address is public: on the internet and of no special purpose.

    An IPv6 address that contains an IPv4 address is never public.
    """
    if isinstance(address, IPv4Address):
        return not any(address in network for network in REFUSED_IPV4)
    refused = any(address in network for network in REFUSED_IPV6)
    return address in GLOBAL_UNICAST and not refused
