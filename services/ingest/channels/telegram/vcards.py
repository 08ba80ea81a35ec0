"""What a contact's card tells beside its name and number (vCard, RFC 6350, section 6)."""

import re
from collections.abc import Iterator

from ingest.channels.parsing import SHORT, words

MOST = 10
"""Lines of a card that are told."""
_FOLD = re.compile(r"\r?\n[ \t]")
_LINE = re.compile(
    r"^(?:[\w-]{1,50}\.)?(TEL|EMAIL|ORG|TITLE|URL|ADR|NOTE)(?:;[^:\n]{0,500})?:([^\r\n]{1,2000})",
    re.IGNORECASE | re.MULTILINE,
)
_ESCAPED = re.compile(r"\\([\\,;nN])")


def told_in(card: str) -> Iterator[tuple[str, str]]:
    """Give a card's numbers, addresses and the like, each with its property's name."""
    found = _LINE.finditer(_FOLD.sub("", card[:10_000]))
    for _, line in zip(range(MOST), found, strict=False):
        parts = re.split(r"(?<!\\);", line[2])
        plain = (_ESCAPED.sub(_unescaped, each).strip() for each in parts)
        value = words(" ".join(filter(None, plain)), SHORT)
        if value is not None:
            yield line[1].upper(), value.removeprefix("tel:").removeprefix("mailto:")


def _unescaped(found: re.Match[str]) -> str:
    return " " if found[1] in "nN" else found[1]
