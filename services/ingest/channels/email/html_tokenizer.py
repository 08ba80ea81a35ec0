"""Tokenize HTML as browsers do (WHATWG HTML, 13.2.5): text, start tags and end tags.

It takes one pass, in linear time for any input. Comments, scripts and styles are left out.
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

# Possessive quantifiers throughout, so that matching never backtracks.
_MARKUP = re.compile(
    r"<(?:(/?)([a-z][^\s/>]*+)((?:[^>=]++|=\s*+(?:\"[^\"]*+\"|'[^']*+')?+)*+)>"
    r"|!--(?:-?>|.*?(?:--!?>|\Z))"
    r"|[!?][^>]*+>?+"
    r"|/(?![a-z])[^>]*+>?+)",
    re.IGNORECASE | re.DOTALL,
)
_TAG_START = re.compile(r"<(?=[a-z/!?])", re.IGNORECASE)
_ATTRIBUTE = re.compile(
    r"([^\s/>=][^\s/>=]*+)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s>]*+)))?+"
)
IGNORED_ELEMENTS = frozenset(
    {"script", "style", "template", "title", "iframe", "noembed", "noframes"}
)
"""Elements whose content is not read."""
TEXT_ELEMENTS = frozenset({"textarea", "xmp"})
"""Elements whose content is text, even if it looks like markup."""
_END_TAGS = {
    name: re.compile(f"</{name}(?=[\\s/>])", re.IGNORECASE)
    for name in IGNORED_ELEMENTS | TEXT_ELEMENTS
}


class Token(NamedTuple):
    """A piece of text, a start tag or an end tag."""

    kind: Literal["text", "start", "end"]
    name: str
    """Of a tag, in lower case."""
    rest: str
    """The text with its character references; of a start tag, its attributes."""


def tokens(markup: str) -> Iterator[Token]:
    """Yield the tokens of markup. A tag that does not end is text, with all that follows."""
    at = emitted = 0
    while (begins := _TAG_START.search(markup, at)) is not None:
        found = _MARKUP.match(markup, begins.start())
        if found is None:
            break
        if begins.start() > emitted:
            yield Token("text", "", markup[emitted : begins.start()])
        at = emitted = found.end()
        if not found[2]:
            continue
        name = found[2].lower()
        yield Token("end" if found[1] else "start", name, found[3])
        if name in _END_TAGS and not found[1]:
            closed = _END_TAGS[name].search(markup, at)
            at = closed.start() if closed else len(markup)
            emitted = emitted if name in TEXT_ELEMENTS else at
    if emitted < len(markup):
        yield Token("text", "", markup[emitted:])


def attributes(rest: str) -> Iterator[tuple[str, str]]:
    """Yield a start tag's attributes: names in lower case, values as written."""
    for found in _ATTRIBUTE.finditer(rest):
        yield found[1].lower(), found[2] or found[3] or found[4] or ""
