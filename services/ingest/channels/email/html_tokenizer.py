"""HTML as a browser's tokenizer takes it apart (WHATWG HTML, 13.2.5): text, start tags, end tags.

In one pass whose cost grows with the length alone, whatever is written there. Comments, and what
stands in scripts and styles, are left out.
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

# Possessive throughout: what did not match is never tried another way.
_MARKUP = re.compile(
    r"<(?:(/?)([a-z][^\s/>]*+)((?:[^>=]++|=\s*+(?:\"[^\"]*+\"|'[^']*+')?+)*+)>"
    r"|!--(?:-?>|.*?(?:--!?>|\Z))"
    r"|[!?][^>]*+>?+"
    r"|/(?![a-z])[^>]*+>?+)",
    re.IGNORECASE | re.DOTALL,
)
_BEGINS = re.compile(r"<(?=[a-z/!?])", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    r"([^\s/>=][^\s/>=]*+)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s>]*+)))?+"
)
SILENT = frozenset({"script", "style", "template", "title", "iframe", "noembed", "noframes"})
"""Elements whose content is not read."""
VERBATIM = frozenset({"textarea", "xmp"})
"""Elements whose content is text, whatever it looks like."""
_ENDS = {name: re.compile(f"</{name}(?=[\\s/>])", re.IGNORECASE) for name in SILENT | VERBATIM}


class Token(NamedTuple):
    """A piece of markup."""

    kind: Literal["text", "start", "end"]
    name: str
    """Of a tag, in small letters."""
    rest: str
    """The text, its character references as they were; of a start tag, its attributes."""


def tokens(markup: str) -> Iterator[Token]:
    """Take markup apart. A tag that does not end is text, with all that follows."""
    at = told = 0
    while (begins := _BEGINS.search(markup, at)) is not None:
        found = _MARKUP.match(markup, begins.start())
        if found is None:
            break
        if begins.start() > told:
            yield Token("text", "", markup[told : begins.start()])
        at = told = found.end()
        if not found[2]:
            continue
        name = found[2].lower()
        yield Token("end" if found[1] else "start", name, found[3])
        if name in _ENDS and not found[1]:
            closed = _ENDS[name].search(markup, at)
            at = closed.start() if closed else len(markup)
            told = told if name in VERBATIM else at
    if told < len(markup):
        yield Token("text", "", markup[told:])


def attributes(rest: str) -> Iterator[tuple[str, str]]:
    """Give a start tag's attributes: names in small letters, values as they were written."""
    for found in _ATTRIBUTE.finditer(rest):
        yield found[1].lower(), found[2] or found[3] or found[4] or ""
