"""Languages as platforms and pages tell them, in the one way they are written here."""

import re
from functools import lru_cache

_TAG = re.compile(r"([A-Za-z]{2,3})((?:[-_][A-Za-z0-9]{1,8}){0,5})", re.ASCII)

_SECOND = {
    "a": "abefkmnrsvyz",
    "b": "aeghimnors",
    "c": "aehorsuvy",
    "d": "aevz",
    "e": "elnostu",
    "f": "afijory",
    "g": "adlnuv",
    "h": "aeiortuyz",
    "i": "adegikostu",
    "j": "av",
    "k": "agijklmnorsuvwy",
    "l": "abginotuv",
    "m": "ghiklnrsty",
    "n": "abdeglnorvy",
    "o": "cjmrs",
    "p": "ailst",
    "q": "u",
    "r": "mnouw",
    "s": "acdeghiklmnoqrstuvw",
    "t": "aeghiklnorstwy",
    "u": "gkrz",
    "v": "eio",
    "w": "ao",
    "x": "h",
    "y": "io",
    "z": "ahu",
}
"""The two-letter codes of ISO 639-1, by their first letter; longer codes may be any."""

_OLD = {"iw": "he", "in": "id", "ji": "yi", "jw": "jv", "mo": "ro"}
"""What older systems still write."""


@lru_cache(maxsize=1024)
def language_of(told: str) -> str | None:
    """Give a language tag in its canonical case (RFC 5646, 2.1.1); None when it names none.

    >>> language_of("uk"), language_of("PT_br"), language_of("zh-hans-cn"), language_of("xx")
    ('uk', 'pt-BR', 'zh-Hans-CN', None)
    """
    found = _TAG.fullmatch(told.strip())
    if found is None:
        return None
    first = found[1].lower()
    first = _OLD.get(first, first)
    if len(first) == 2 and first[1] not in _SECOND.get(first[0], ""):
        return None
    return "-".join([first, *map(_cased, re.split("[-_]", found[2])[1:])])


def _cased(part: str) -> str:
    if len(part) == 2:
        return part.upper()
    return part.title() if len(part) == 4 and part.isalpha() else part.lower()
