"""The filter of `trunkline tail`: streams, types and requests, validated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from trunkline.facts import StreamFact
from trunkline.paths import CannotStart
from trunkline_contracts import BY_NAME

STREAMS = tuple(dict.fromkeys(name.split(".")[1].upper() for name in BY_NAME))
ALL, NOW = "all", "now"

_ID = re.compile(r"[0-9a-f-]{4,36}")


@dataclass(frozen=True)
class FactFilter:
    """The facts to show, and the position to start from."""

    streams: tuple[str, ...]
    types: tuple[str, ...]
    """Types of facts; empty means all, including types of later versions."""
    requests: tuple[str, ...]
    """Ids of requests, or their first digits; empty means all."""
    since: str = NOW

    @classmethod
    def parse(
        cls, streams: Sequence[str], globs: Sequence[str], requests: Sequence[str], since: str
    ) -> FactFilter:
        """Validate command-line options; raise CannotStart with the allowed values."""
        chosen = tuple(dict.fromkeys(name.upper() for name in streams)) or ("TICKETS",)
        for name in chosen:
            if name not in STREAMS:
                raise CannotStart(f"no stream is called {name!r}: it is one of {_joined(STREAMS)}")
        if since not in {ALL, NOW} and not (since.isascii() and since.isdecimal()):
            raise CannotStart(
                f"--since {since}: allowed are {ALL}, {NOW} and a sequence of the stream"
            )
        for request_id in requests:
            if not _ID.fullmatch(request_id):
                raise CannotStart(f"--request {request_id}: not an id or the first digits of one")
        return cls(chosen, _types(chosen, globs), tuple(requests), since)

    def subject(self, stream: str) -> str:
        """Return the one subject to read from a stream: type, slot, key. It may cover too much."""
        types = self._types_of(stream)
        name = types[0] if len(types) == 1 else f"trunkline.{stream.lower()}.*.*"
        is_whole = len(self.requests) == 1 and len(self.requests[0]) == 36
        return f"{name}.*.{self.requests[0] if is_whole else '*'}"

    def matches(self, fact: StreamFact) -> bool:
        """Check the type and the request of a fact that the subject may have covered by chance."""
        types = self._types_of(fact.stream)
        if types and fact.type not in types:
            return False
        return not self.requests or fact.key.startswith(self.requests)

    def _types_of(self, stream: str) -> list[str]:
        return [name for name in self.types if name.split(".")[1] == stream.lower()]


def _types(streams: Sequence[str], globs: Sequence[str]) -> tuple[str, ...]:
    known = [name for name in BY_NAME if name.split(".")[1].upper() in streams]
    found: dict[str, None] = {}
    for glob in globs:
        matching = [
            n for n in known if fnmatchcase(n, glob) or fnmatchcase(n.rpartition(".")[2], glob)
        ]
        if not matching:
            allowed = _joined(name.rpartition(".")[2] for name in known)
            raise CannotStart(f"no fact of {_joined(streams)} is called {glob!r}: {allowed}")
        found |= dict.fromkeys(matching)
    streams_found = {name.split(".")[1].upper() for name in found}
    if found and (streams_without := [name for name in streams if name not in streams_found]):
        raise CannotStart(f"{_joined(streams_without)} has no fact called {_joined(globs)}")
    return tuple(found)


def _joined(names: Iterable[str]) -> str:
    return ", ".join(names)
