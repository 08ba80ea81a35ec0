"""What platforms send, on file: each body with the items it becomes, and everything near it.

A channel's folder `tests/domain/golden/<channel>` has one file per type of message:

    {"body": {…},            the body as JSON; or "form": {…}, or "text": "…" as it is
     "raw": {"account": …},  more of the delivery, where the adapter looks at it
     "items": [{…}]}         what differs from an Item's defaults, without the digest;
                             or "unreadable": "…", the reason its sender is told; of a batch
                             an item's place may be {"unreadable": "…"}

`python tests/corpus.py` writes the items of files that have none yet, for you to read and check.
How many bodies that makes stands in docs/channels.md.
"""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pydantic import TypeAdapter

from ingest.channels import registry
from ingest.domain.items import Item, Person, Raw, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

GOLDEN = Path(__file__).parent / "domain" / "golden"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
INBOUND_ID = "5f0c9d52-7f0e-8a53-9c0e-3a6d2b1f4e11"
KINDS = ("body", "form", "text")
LONG = 100_000
DEPTHS = (200, 300, 600, 900, 980, 1_000)
"""How deep a field may be of which nobody needs anything; Python itself stops at a thousand."""
CUTS, OTHERWISE = 300, 30 + 2 * len(DEPTHS)
"""At least so often a body is cut off; and in how many other ways it is broken."""

ITEM: TypeAdapter[Item] = TypeAdapter(Item)

ODD: tuple[tuple[str, Any], ...] = (
    ("null", None), ("true", True), ("zero", 0), ("negative", -1), ("fraction", 1.5),
    ("2^63", 2**63), ("400 digits", 10**400), ("no words", ""), ("blank", " \n"), ("word", "x"),
    ("unstorable", "a\x00b\ud800c"), ("controls", "\x01a\x1b[2Jb\x7f\x85\x9c"),
    ("markup", "<script>alert(1)</script>"), ("list", []),
    ("object", {}), ("list of lists", [[[]]]), ("list of objects", [{"id": "1"}, {}]),
    ("other object", {"id": {"id": []}}),
)  # fmt: skip
"""What a field may turn out to be."""


@dataclass(frozen=True)
class Case:
    """A file of the corpus."""

    channel: str
    path: Path
    told: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.channel}-{self.path.stem}"

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if kind in self.told)

    def bytes(self, value: Any = None) -> bytes:
        """Write the body, or another in its place, as it travels."""
        value = self.told[self.kind] if value is None else value
        match self.kind:
            case "form":
                return urlencode(value, doseq=True, errors="replace").encode()
            case "text":
                return str(value).encode("utf-8", "surrogateescape")
            case _:
                return json.dumps(value).encode()

    def raw(self, body: bytes | None = None) -> Raw:
        """Give the delivery as the intake gets it."""
        data = self.bytes() if body is None else body
        more: dict[str, Any] = {"account": "main", **self.told.get("raw", {})}
        if "sender" in more:
            more["sender"] = Person(**more["sender"])
        return Raw(
            channel=self.channel, inbound_id=INBOUND_ID, body=data, received_at=NOW,
            sha256=sha256(data).hexdigest(), **more,
        )  # fmt: skip


def cases(channel: str | None = None) -> list[Case]:
    """Give the files, of one channel or all."""
    paths = sorted(GOLDEN.glob(f"{channel or '*'}/*.json"))
    return [Case(path.parent.name, path, json.loads(path.read_text())) for path in paths]


def shown(items: Any) -> list[dict[str, Any]]:
    """Show items as the files have them."""
    return [_shown(item) for item in items]


def _shown(item: Item | Unreadable) -> dict[str, Any]:
    if isinstance(item, Unreadable):
        return {"unreadable": str(item)}
    told: dict[str, Any] = ITEM.dump_python(item, mode="json", exclude_defaults=True)
    return {key: value for key, value in told.items() if key != "digest"}


def outcome(case: Case) -> dict[str, Any]:
    """Read a body: its items, or why it cannot be read."""
    try:
        return {"items": shown(registry.read(case.raw()))}
    except Unreadable as why:
        return {"unreadable": str(why)}


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Name every place in a JSON value, the deepest too."""
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for key, each in inner:
        yield (*at, key)
        yield from places(each, (*at, key))


def mutants(case: Case) -> Iterator[tuple[str, bytes]]:
    """Give the bodies near this one: each field removed, retyped, over-long; or the text cut up."""
    value = case.told[case.kind]
    if isinstance(value, str):
        yield from _of_lines(case, value)
        return
    for at in places(value):
        where = ".".join(map(str, at))
        yield f"{where} removed", case.bytes(_changed(value, at, remove=True))
        for name, odd in (*ODD, *_longer(value, at)):
            yield f"{where} {name}", case.bytes(_changed(value, at, odd))


def mutant(case: Case, dice: Random) -> bytes:
    """Give one of the bodies near this one: a field of it is something else."""
    value = case.told[case.kind]
    if isinstance(value, str) or not value:
        return case.bytes()
    at, (_, odd) = dice.choice(list(places(value))), dice.choice(ODD)
    return case.bytes(_changed(value, at, odd))


def _longer(value: Any, at: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    for key in at:
        value = value[key]
    if isinstance(value, str):
        yield "over-long", (value or "x") * (LONG // max(len(value), 1))
    elif isinstance(value, list):
        yield "many times", value * 1_000
    elif isinstance(value, dict):
        yield "many keys", {**value, **{f"k{n}": n for n in range(1_000)}}
    else:
        yield "digits", "9" * LONG


def _changed(value: Any, at: tuple[Any, ...], odd: Any = None, *, remove: bool = False) -> Any:
    value = copy.deepcopy(value)
    inner = value
    for key in at[:-1]:
        inner = inner[key]
    if remove:
        del inner[at[-1]]
    else:
        inner[at[-1]] = odd
    return value


def _of_lines(case: Case, text: str) -> Iterator[tuple[str, bytes]]:
    lines = text.splitlines(keepends=True)
    for n, line in enumerate(lines):
        before, after = "".join(lines[:n]), "".join(lines[n + 1 :])
        yield f"line {n} removed", case.bytes(before + after)
        yield f"line {n} twice", case.bytes(before + line + line + after)
        yield f"line {n} long", case.bytes(before + line.rstrip("\r\n") + "x" * 5_000 + after)
        yield f"line {n} cut", case.bytes(before + line[: len(line) // 2] + "\r\n" + after)


def broken(case: Case) -> Iterator[tuple[str, bytes]]:
    """Give what is no such body any more: cut off anywhere, padded, in another encoding, deep."""
    body = case.bytes()
    step = max(1, len(body) // CUTS)
    for size in range(0, len(body), step):
        yield f"{size} bytes", body[:size]
    text = body.decode(errors="replace")
    yield "with a mark", b"\xef\xbb\xbf" + body
    yield "in UTF-16", text.encode("utf-16")
    yield "not in UTF-8", body.replace(b"e", b"\xff\xfe")
    yield "with a tail", body + b"}garbage"
    yield "twice", body + body
    yield "spaces", b" " * 1_000
    yield "quoted", json.dumps(text).encode()
    for word in (b"null", b"true", b"1", b"NaN", b"Infinity", b"1e400", b"[]", b"{}", b'""'):
        yield word.decode(), word
        yield f"[{word.decode()}]", b"[" + word + b"]"
    yield "deep lists", b"[" * 100_000
    yield "deep objects", b'{"a":' * 100_000
    for deep in DEPTHS:
        within = b'{"within":' + b"[" * deep + b"]" * deep + b","
        yield f"with {deep} lists within", body.replace(b"{", within, 1)
        within = b'{"within":' + b'{"a":' * deep + b"1" + b"}" * deep + b","
        yield f"with {deep} objects within", body.replace(b"{", within, 1)
    yield "a long number", body.replace(b"{", b'{"number":' + b"9" * 10_000 + b",", 1)
    yield "keys twice", body.replace(b"{", b'{"id":1,"id":"2",', 1)
    yield "a strange key", body.replace(b"{", b'{"__proto__":{"id":1},', 1)


def how_many(case: Case) -> tuple[int, int]:
    """Count the mutants of a case and what is broken, without making them all."""
    value, size = case.told[case.kind], len(case.bytes())
    near = 4 * len(value.splitlines()) if isinstance(value, str) else 0
    near = near or sum(2 + len(ODD) for _ in places(value))
    return near, len(range(0, size, max(1, size // CUTS))) + OTHERWISE


def main() -> None:
    """Write what is missing."""
    for case in cases():
        if not case.told.keys() & {"items", "unreadable"}:
            told = {**case.told, **outcome(case)}
            case.path.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
