"""What names mean, asked of the system's resolver without ever waiting for it in a shared place.

The resolver cannot be told to stop: a question about a dead name keeps its thread for half a minute
and more. So every name is asked about once at a time, in a thread of its own that holds up no
process from ending; whoever waits gives up long before, and what is not known is remembered, too.
"""

import asyncio
import socket
import threading
import time
from contextlib import suppress
from ipaddress import ip_address

FOUND_TTL_S = 10.0
"""Seconds for which a name keeps the meaning it had."""
NOT_FOUND_TTL_S = 5.0
"""Seconds after which a name that is not known is asked about again."""
LOOKUP_TIMEOUT_S = 5.0
"""Seconds to wait for an answer."""
MAX_LOOKUPS = 64
"""Names asked about at once."""
MAX_CACHED_NAMES = 1000


class Resolver:
    """What is known of names, and what is being asked."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, list[str]]] = {}
        self._asked: dict[str, asyncio.Future[list[str]]] = {}

    async def resolve(self, name: str) -> list[str]:
        """Give the addresses a name means; none when it is not known, or not in time."""
        with suppress(ValueError):
            return [str(ip_address(name))]
        known = self._known.get(name)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        asked = self._asked.get(name) or self._ask(name)
        if asked is None:
            return []
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                return await asyncio.shield(asked)
        except TimeoutError:
            self._keep(name, [])
            return []

    def _ask(self, name: str) -> asyncio.Future[list[str]] | None:
        if len(self._asked) >= MAX_LOOKUPS:
            return None
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[list[str]] = loop.create_future()

        def heard(found: list[str]) -> None:
            self._asked.pop(name, None)
            self._keep(name, found)
            asked.set_result(found)

        def ask() -> None:
            found = look_up(name)
            with suppress(RuntimeError):  # nobody is there any more
                loop.call_soon_threadsafe(heard, found)

        threading.Thread(target=ask, name=f"asking about {name}", daemon=True).start()
        self._asked[name] = asked
        return asked

    def _keep(self, name: str, found: list[str]) -> None:
        if len(self._known) > MAX_CACHED_NAMES:
            self._known.clear()
        self._known[name] = (time.monotonic() + (FOUND_TTL_S if found else NOT_FOUND_TTL_S), found)


def look_up(name: str) -> list[str]:
    """Ask the system, however long that takes; gives nothing when it does not know."""
    try:
        told = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in told))
