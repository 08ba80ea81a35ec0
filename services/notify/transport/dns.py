"""DNS lookups with a timeout, each in its own thread, cached.

A lookup of the system's resolver cannot be cancelled: a name whose servers do not answer occupies
its thread for half a minute or more. Each name is therefore looked up once at a time, in a daemon
thread that does not delay the end of the process. Callers stop waiting long before, and names that
are not found are cached too.
"""

import asyncio
import socket
import threading
import time
from contextlib import suppress
from ipaddress import ip_address

FOUND_TTL_S = 10.0
"""Seconds for which the addresses of a name are cached."""
NOT_FOUND_TTL_S = 5.0
"""Seconds after which a name that was not found is looked up again."""
LOOKUP_TIMEOUT_S = 5.0
"""Seconds a caller waits for a lookup."""
MAX_LOOKUPS = 64
"""Concurrent lookups."""
MAX_CACHED_NAMES = 1000


class Resolver:
    """A cache of names with their addresses, and the lookups under way."""

    def __init__(self) -> None:
        self._cache: dict[str, tuple[float, list[str]]] = {}
        self._lookups: dict[str, asyncio.Future[list[str]]] = {}

    async def resolve(self, name: str) -> list[str]:
        """Return the addresses of a name; none when it is not found, or not in time."""
        with suppress(ValueError):
            return [str(ip_address(name))]
        entry = self._cache.get(name)
        if entry is not None and time.monotonic() < entry[0]:
            return entry[1]
        lookup = self._lookups.get(name) or self._start(name)
        if lookup is None:
            return []
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                return await asyncio.shield(lookup)
        except TimeoutError:
            self._store(name, [])
            return []

    def _start(self, name: str) -> asyncio.Future[list[str]] | None:
        if len(self._lookups) >= MAX_LOOKUPS:
            return None
        loop = asyncio.get_running_loop()
        lookup: asyncio.Future[list[str]] = loop.create_future()

        def finish(addresses: list[str]) -> None:
            self._lookups.pop(name, None)
            self._store(name, addresses)
            lookup.set_result(addresses)

        def run() -> None:
            addresses = look_up(name)
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(finish, addresses)

        threading.Thread(target=run, name=f"DNS lookup of {name}", daemon=True).start()
        self._lookups[name] = lookup
        return lookup

    def _store(self, name: str, addresses: list[str]) -> None:
        if len(self._cache) > MAX_CACHED_NAMES:
            self._cache.clear()
        self._cache[name] = (
            time.monotonic() + (FOUND_TTL_S if addresses else NOT_FOUND_TTL_S),
            addresses,
        )


def look_up(name: str) -> list[str]:
    """Ask the system's resolver, however long it takes; return none for an unknown name."""
    try:
        results = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in results))
