"""Which facts somebody wants to see, checked as they typed it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from trunkline.facts import Seen
from trunkline.paths import CannotStart
from trunkline_contracts import BY_NAME

STREAMS = tuple(dict.fromkeys(name.split(".")[1].upper() for name in BY_NAME))
ALL, NOW = "all", "now"

_ID = re.compile(r"[0-9a-f-]{4,36}")


@dataclass(frozen=True)
class Wanted:
    """Which facts are to be seen, from where on."""

    streams: tuple[str, ...]
    types: tuple[str, ...]
    """Names of facts; none means all, those of later versions too."""
    requests: tuple[str, ...]
    """Ids of requests, or their first digits; none means all."""
    since: str = NOW

    @classmethod
    def asked(
        cls, streams: Sequence[str], globs: Sequence[str], requests: Sequence[str], since: str
    ) -> Wanted:
        """Check what somebody typed; a refusal names what is allowed."""
        chosen = tuple(dict.fromkeys(name.upper() for name in streams)) or ("TICKETS",)
        for name in chosen:
            if name not in STREAMS:
                raise CannotStart(f"no stream is called {name!r}: it is one of {_said(STREAMS)}")
        if since not in {ALL, NOW} and not (since.isascii() and since.isdecimal()):
            raise CannotStart(f"--since {since}: say {ALL}, {NOW} or a sequence of the stream")
        for one in requests:
            if not _ID.fullmatch(one):
                raise CannotStart(f"--request {one}: not an id, nor the first digits of one")
        return cls(chosen, _types(chosen, globs), tuple(requests), since)

    def filters(self, stream: str) -> list[str]:
        """Give the subjects to hear of a stream: type, slot, key."""
        service = stream.lower()
        of_type = [name for name in self.types if name.split(".")[1] == service]
        whole = self.requests and all(len(one) == 36 for one in self.requests)
        return [
            f"{name}.*.{key}"
            for name in of_type or [f"trunkline.{service}.*.*"]
            for key in (self.requests if whole else ["*"])
        ]

    def fits(self, seen: Seen) -> bool:
        """Whether it is about one of the requests: subjects cannot be asked for by first digits."""
        return not self.requests or seen.key.startswith(self.requests)


def _types(streams: Sequence[str], globs: Sequence[str]) -> tuple[str, ...]:
    known = [name for name in BY_NAME if name.split(".")[1].upper() in streams]
    found: dict[str, None] = {}
    for glob in globs:
        fit = [n for n in known if fnmatchcase(n, glob) or fnmatchcase(n.rpartition(".")[2], glob)]
        if not fit:
            allowed = _said(name.rpartition(".")[2] for name in known)
            raise CannotStart(f"no fact of {_said(streams)} is called {glob!r}: {allowed}")
        found |= dict.fromkeys(fit)
    streams_left = {name.split(".")[1].upper() for name in found}
    if found and (idle := [name for name in streams if name not in streams_left]):
        raise CannotStart(f"{_said(idle)} has no fact called {_said(globs)}")
    return tuple(found)


def _said(names: Iterable[str]) -> str:
    return ", ".join(names)
