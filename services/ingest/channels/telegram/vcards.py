"""Properties of a contact card besides name and number (vCard, RFC 6350, section 6)."""

import re
from collections.abc import Iterator

from ingest.channels.parsing import MAX_NAME_CHARS, text_or_none

MAX_PROPERTIES = 10
"""Properties that are read from a card."""
_FOLD = re.compile(r"\r?\n[ \t]")
_LINE = re.compile(
    r"^(?:[\w-]{1,50}\.)?(TEL|EMAIL|ORG|TITLE|URL|ADR|NOTE)(?:;[^:\n]{0,500})?:([^\r\n]{1,2000})",
    re.IGNORECASE | re.MULTILINE,
)
_ESCAPED = re.compile(r"\\([\\,;nN])")


def properties_in(card: str) -> Iterator[tuple[str, str]]:
    """Yield the name and value of a card's phone, e-mail, address and similar properties."""
    found = _LINE.finditer(_FOLD.sub("", card[:10_000]))
    for _, line in zip(range(MAX_PROPERTIES), found, strict=False):
        parts = re.split(r"(?<!\\);", line[2])
        values = (_ESCAPED.sub(_unescaped, field).strip() for field in parts)
        value = text_or_none(" ".join(filter(None, values)), MAX_NAME_CHARS)
        if value is not None:
            yield line[1].upper(), value.removeprefix("tel:").removeprefix("mailto:")


def _unescaped(found: re.Match[str]) -> str:
    return " " if found[1] in "nN" else found[1]
