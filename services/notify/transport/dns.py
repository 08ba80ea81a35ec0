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

KEEP = 10.0
"""Seconds for which a name keeps the meaning it had."""
FORGET = 5.0
"""Seconds after which a name that is not known is asked about again."""
PATIENCE = 5.0
"""Seconds to wait for an answer."""
AT_ONCE = 64
"""Names asked about at once."""
KNOWN = 1000


class Names:
    """What is known of names, and what is being asked."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, list[str]]] = {}
        self._asked: dict[str, asyncio.Future[list[str]]] = {}

    async def mean(self, name: str) -> list[str]:
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
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(asked)
        except TimeoutError:
            self._keep(name, [])
            return []

    def _ask(self, name: str) -> asyncio.Future[list[str]] | None:
        if len(self._asked) >= AT_ONCE:
            return None
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[list[str]] = loop.create_future()

        def heard(found: list[str]) -> None:
            self._asked.pop(name, None)
            self._keep(name, found)
            asked.set_result(found)

        def ask() -> None:
            found = resolve(name)
            with suppress(RuntimeError):  # nobody is there any more
                loop.call_soon_threadsafe(heard, found)

        threading.Thread(target=ask, name=f"asking about {name}", daemon=True).start()
        self._asked[name] = asked
        return asked

    def _keep(self, name: str, found: list[str]) -> None:
        if len(self._known) > KNOWN:
            self._known.clear()
        self._known[name] = (time.monotonic() + (KEEP if found else FORGET), found)


def resolve(name: str) -> list[str]:
    """Ask the system, however long that takes; gives nothing when it does not know."""
    try:
        told = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in told))
