"""Text that PostgreSQL can store."""

import re

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROLS = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """Replace characters that no database stores, and remove control characters.

    NUL and lone surrogates become U+FFFD. Control characters (C0 and C1 of ISO 6429) are removed
    except tabs and line ends: JSON writes six bytes for each. A text that is not empty does not
    become empty.
    """
    if text.isprintable():
        return text
    return _CONTROLS.sub("", _UNSTORABLE.sub("\ufffd", text)) or (text and "\ufffd")
