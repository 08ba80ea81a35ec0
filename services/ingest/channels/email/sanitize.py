"""Strangers' HTML: what may be shown to an operator is kept, everything else is taken out.

Sanitised by ammonia (through `nh3`): no scripts, styles, forms or frames, no address but those of
links and of pictures that came with the mail. A picture from elsewhere tells its owner who reads.

What sanitising costs grows with the depth of elements within elements, and how deep a parser finds
them is known only after that. So the markup is written anew first (`balanced`): only elements that
may be shown, each ended by its own end tag before the one around it is. That leaves nothing for a
parser to guess (WHATWG HTML, 13.2.6), and the depth is counted while it is written. Long, as it
lists what is kept.
"""

import nh3

from ingest.channels.email.html_tokenizer import attributes, tokens

DEPTH = 200
"""Elements within elements; the cost of sanitising grows with its square."""
STEPS = 1_000_000
"""The depths of all pieces together: what a parser may have to look at."""
SCHEMES = frozenset({"http", "https", "mailto", "tel", "cid"})
SHOWN = frozenset(nh3.ALLOWED_TAGS)
_NAMES = """action background cite classid codebase data dynsrc formaction href icon longdesc
lowsrc manifest ping poster profile src srcset usemap xlink:href"""
ADDRESSES = frozenset(_NAMES.split())
"""Attributes that hold an address, whether or not they are ever shown."""
_ATTRIBUTES = {tag: {*nh3.ALLOWED_ATTRIBUTES.get(tag, ()), "lang", "title"} for tag in SHOWN}
_VOID = frozenset({"area", "br", "col", "hr", "img", "wbr"})
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_ONE_TABLE = frozenset({"table"})
_CELLS = frozenset({"table", "td", "th", "caption"})
_SECTIONS = frozenset({"table", "tbody", "thead", "tfoot"})
_TABLE = {
    **dict.fromkeys(("tbody", "thead", "tfoot", "caption", "colgroup"), frozenset({"table"})),
    **dict.fromkeys(("td", "th"), _SECTIONS | {"tr"}),
    "tr": _SECTIONS,
    "col": frozenset({"table", "colgroup"}),
}
"""Parts of a table, and what they stand in: whatever else is open there ends."""
_ON_THEIR_OWN = """article aside blockquote center dd details div dl dt figcaption figure footer
header hgroup hr li nav ol p pre summary table ul"""
_BLOCKS = frozenset({*_ON_THEIR_OWN.split(), *_HEADINGS, *_TABLE})
_LISTED = {"li": frozenset({"li"}), **dict.fromkeys(("dd", "dt"), frozenset({"dd", "dt"}))}
_LISTS = _BLOCKS - {"li", "dd", "dt", "div", "p"}
_AROUND = {"li": _CELLS | {"ol", "ul"}, "dd": _CELLS | {"dl"}, "dt": _CELLS | {"dl"}}
"""How far out an end tag looks for its element."""


class TooDeep(Exception):
    """There is more within more than is shown."""


def safe(markup: str, limit: int) -> tuple[str | None, str | None]:
    """Give the markup as it may be shown, if anything is left of it, or why it is not shown.

    `limit` is in bytes, of what came and of what is left.
    """
    much = f"may have {limit} bytes"
    if len(markup.encode(errors="ignore")) > limit:
        return None, much
    try:
        told = balanced(markup.encode(errors="replace").decode())
    except TooDeep:
        return None, f"may have {DEPTH} elements within each other"
    kept = nh3.clean(
        told, attribute_filter=_addresses, url_schemes=set(SCHEMES), url_relative="deny"
    ).strip()
    return (None, much) if len(kept.encode()) > limit else (kept or None, None)


def _addresses(tag: str, name: str, value: str) -> str | None:
    """Let pictures come from the mail itself, and links go anywhere else."""
    if name not in ADDRESSES:
        return value
    scheme, colon, _ = value.strip().lower().partition(":")
    within = scheme == "cid"
    return value if colon and scheme in SCHEMES and within == (tag == "img") else None


def balanced(markup: str) -> str:
    """Write markup anew, every element ended before the one around it; raises `TooDeep`."""
    page = _Page()
    for kind, name, rest in tokens(markup):
        page.step(1)
        if kind == "text":
            page.said.append(rest.replace("<", "&lt;"))
        elif name in SHOWN:
            if kind == "start":
                page.begin(name, rest)
            elif name not in _VOID:
                page.end(name)
    page.close(0)
    return "".join(page.said)


class _Page:
    """What has been written, and the elements that are open.

    An element a parser would end by itself is ended here; one it would open anew is not.
    """

    def __init__(self) -> None:
        self.said: list[str] = []
        self._open: list[str] = []
        self._steps = 0

    def step(self, times: int) -> None:
        """Count what a parser may have to look at."""
        self._steps += times * len(self._open)
        if self._steps > STEPS:
            raise TooDeep

    def begin(self, name: str, rest: str) -> None:
        """Open an element, once what it cannot stand in is ended."""
        if name in _TABLE:
            self._clear(_TABLE[name])
        elif name in _BLOCKS:
            self._cut(frozenset({"p"}), _CELLS)
        elif name == "a":
            self._lift("a")
        if name in _LISTED:
            self._cut(_LISTED[name], _LISTS)
        told: dict[str, str] = {}
        for key, value in attributes(rest):
            if key in _ATTRIBUTES[name]:
                told.setdefault(key, value.replace('"', "&quot;").replace("<", "&lt;"))
        self._write(name, "".join(f' {key}="{value}"' for key, value in told.items()))

    def end(self, name: str) -> None:
        """End the nearest element of that name, and what is within it."""
        if name not in _BLOCKS:
            self._lift(name)
        elif name in _CELLS or name in _TABLE:
            self._cut(frozenset({name}), _ONE_TABLE)
        else:
            names = _HEADINGS if name in _HEADINGS else frozenset({name})
            self._cut(names, _AROUND.get(name, _CELLS))

    def close(self, upto: int) -> None:
        """End the innermost elements, down to so many."""
        for name in reversed(self._open[upto:]):
            self.said.append(f"</{name}>")
        del self._open[upto:]

    def _write(self, name: str, rest: str = "") -> None:
        self.said.append(f"<{name}{rest}>")
        if name not in _VOID:
            self._open.append(name)
            if len(self._open) > DEPTH:
                raise TooDeep

    def _find(self, names: frozenset[str], fences: frozenset[str]) -> int | None:
        """Look outwards for an element; those of `fences` hide what they stand in."""
        for at in range(len(self._open) - 1, -1, -1):
            if self._open[at] in names:
                return at
            if self._open[at] in fences:
                return None
        return None

    def _cut(self, names: frozenset[str], fences: frozenset[str]) -> None:
        found = self._find(names, fences)
        if found is not None:
            self.close(found)

    def _clear(self, around: frozenset[str]) -> None:
        found = self._find(around, frozenset())
        if found is not None and self._find(_ONE_TABLE, frozenset()) is not None:
            self.close(found + 1)

    def _lift(self, name: str) -> None:
        """End an element of a line; the blocks within it go on."""
        found = self._find(frozenset({name}), _CELLS)
        if found is None:
            return
        blocks = [each for each in self._open[found + 1 :] if each in _BLOCKS]
        self.step(1 + bool(blocks))
        self.close(found)
        for each in blocks:
            self._write(each)
