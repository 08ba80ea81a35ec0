"""Sanitize HTML: keep what may be shown to an operator, remove everything else.

ammonia (through `nh3`) removes scripts, styles, forms and frames, and all URLs except those of
links and of pictures that came with the mail: a remote picture tells its owner who reads the mail.

The cost of sanitizing grows with the nesting depth, which is known only after parsing. So the
markup is rewritten first (`balance`): only allowed elements, each closed by its own end tag before
its parent is. A parser has nothing left to guess (WHATWG HTML, 13.2.6), and the depth is counted on
the way.
"""

import nh3

from ingest.channels.email.html_tokenizer import attributes, tokens

MAX_DEPTH = 200
"""Nested elements; the cost of sanitizing grows with the square."""
MAX_STEPS = 1_000_000
"""Sum of the depths of all tokens: an upper bound of a parser's work."""
URL_SCHEMES = frozenset({"http", "https", "mailto", "tel", "cid"})
ALLOWED_TAGS = frozenset(nh3.ALLOWED_TAGS)
_URL_ATTRIBUTE_NAMES = """action background cite classid codebase data dynsrc formaction href icon
longdesc lowsrc manifest ping poster profile src srcset usemap xlink:href"""
URL_ATTRIBUTES = frozenset(_URL_ATTRIBUTE_NAMES.split())
"""Attributes that hold a URL, shown or not."""
_ATTRIBUTES = {tag: {*nh3.ALLOWED_ATTRIBUTES.get(tag, ()), "lang", "title"} for tag in ALLOWED_TAGS}
_VOID = frozenset({"area", "br", "col", "hr", "img", "wbr"})
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_ONE_TABLE = frozenset({"table"})
_CELLS = frozenset({"table", "td", "th", "caption"})
_SECTIONS = frozenset({"table", "tbody", "thead", "tfoot"})
_TABLE_PARENTS = {
    **dict.fromkeys(("tbody", "thead", "tfoot", "caption", "colgroup"), frozenset({"table"})),
    **dict.fromkeys(("td", "th"), _SECTIONS | {"tr"}),
    "tr": _SECTIONS,
    "col": frozenset({"table", "colgroup"}),
}
"""Parts of a table and the elements they may stand in; all other open elements are closed there."""
_BLOCK_NAMES = """article aside blockquote center dd details div dl dt figcaption figure footer
header hgroup hr li nav ol p pre summary table ul"""
_BLOCKS = frozenset({*_BLOCK_NAMES.split(), *_HEADINGS, *_TABLE_PARENTS})
_LIST_ITEMS = {"li": frozenset({"li"}), **dict.fromkeys(("dd", "dt"), frozenset({"dd", "dt"}))}
_LISTS = _BLOCKS - {"li", "dd", "dt", "div", "p"}
_END_TAG_FENCES = {"li": _CELLS | {"ol", "ul"}, "dd": _CELLS | {"dl"}, "dt": _CELLS | {"dl"}}
"""The elements that end the search for the element an end tag closes."""


class TooDeep(Exception):
    """The markup is nested too deeply."""


def sanitize(markup: str, limit: int) -> tuple[str | None, str | None]:
    """Return sanitized markup, if any is left, or the reason why it is not shown.

    `limit` is in bytes, of the input and of the output.
    """
    over_limit = f"may have {limit} bytes"
    if len(markup.encode(errors="ignore")) > limit:
        return None, over_limit
    try:
        balanced = balance(markup.encode(errors="replace").decode())
    except TooDeep:
        return None, f"may have {MAX_DEPTH} elements within each other"
    kept = nh3.clean(
        balanced, attribute_filter=_filter_url, url_schemes=set(URL_SCHEMES), url_relative="deny"
    ).strip()
    return (None, over_limit) if len(kept.encode()) > limit else (kept or None, None)


def _filter_url(tag: str, name: str, value: str) -> str | None:
    """Allow pictures only from the mail itself, and links only to elsewhere."""
    if name not in URL_ATTRIBUTES:
        return value
    scheme, colon, _ = value.strip().lower().partition(":")
    within = scheme == "cid"
    return value if colon and scheme in URL_SCHEMES and within == (tag == "img") else None


def balance(markup: str) -> str:
    """Rewrite markup so that every element is closed before its parent; raises `TooDeep`."""
    page = _MarkupWriter()
    for kind, name, rest in tokens(markup):
        page.step(1)
        if kind == "text":
            page.pieces.append(rest.replace("<", "&lt;"))
        elif name in ALLOWED_TAGS:
            if kind == "start":
                page.begin(name, rest)
            elif name not in _VOID:
                page.end(name)
    page.close(0)
    return "".join(page.pieces)


class _MarkupWriter:
    """The markup written so far, and the open elements.

    Elements that a parser would close on its own are closed here; those it would reopen are not.
    """

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._open: list[str] = []
        self._steps = 0

    def step(self, times: int) -> None:
        """Count a parser's work; raises `TooDeep`."""
        self._steps += times * len(self._open)
        if self._steps > MAX_STEPS:
            raise TooDeep

    def begin(self, name: str, rest: str) -> None:
        """Open an element, after closing those it cannot stand in."""
        if name in _TABLE_PARENTS:
            self._clear(_TABLE_PARENTS[name])
        elif name in _BLOCKS:
            self._cut(frozenset({"p"}), _CELLS)
        elif name == "a":
            self._lift("a")
        if name in _LIST_ITEMS:
            self._cut(_LIST_ITEMS[name], _LISTS)
        kept: dict[str, str] = {}
        for key, value in attributes(rest):
            if key in _ATTRIBUTES[name]:
                kept.setdefault(key, value.replace('"', "&quot;").replace("<", "&lt;"))
        self._write(name, "".join(f' {key}="{value}"' for key, value in kept.items()))

    def end(self, name: str) -> None:
        """Close the nearest element of this name and its content."""
        if name not in _BLOCKS:
            self._lift(name)
        elif name in _CELLS or name in _TABLE_PARENTS:
            self._cut(frozenset({name}), _ONE_TABLE)
        else:
            names = _HEADINGS if name in _HEADINGS else frozenset({name})
            self._cut(names, _END_TAG_FENCES.get(name, _CELLS))

    def close(self, upto: int) -> None:
        """Close the innermost elements, down to this depth."""
        for name in reversed(self._open[upto:]):
            self.pieces.append(f"</{name}>")
        del self._open[upto:]

    def _write(self, name: str, rest: str = "") -> None:
        self.pieces.append(f"<{name}{rest}>")
        if name not in _VOID:
            self._open.append(name)
            if len(self._open) > MAX_DEPTH:
                raise TooDeep

    def _find(self, names: frozenset[str], fences: frozenset[str]) -> int | None:
        """Search outwards for an element; `fences` stop the search."""
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
        """Close an inline element; the blocks within it stay open."""
        found = self._find(frozenset({name}), _CELLS)
        if found is None:
            return
        blocks = [block for block in self._open[found + 1 :] if block in _BLOCKS]
        self.step(1 + bool(blocks))
        self.close(found)
        for block in blocks:
            self._write(block)
