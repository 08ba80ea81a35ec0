"""Text that can be stored: control characters and lone surrogates are replaced."""

import re

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_CONTROLS = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """Replace what no database keeps as text, and take out what no text needs.

    Control characters (C0 and C1 of ISO 6429) but for tabs and the ends of lines: JSON writes six
    bytes for one. What is not empty does not become so.
    """
    if text.isprintable():
        return text
    return _CONTROLS.sub("", _UNSTORABLE.sub("\ufffd", text)) or (text and "\ufffd")
