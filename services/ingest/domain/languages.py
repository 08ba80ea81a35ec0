"""Language tags in one canonical form."""

import re
from functools import lru_cache

_TAG = re.compile(r"([A-Za-z]{2,3})((?:[-_][A-Za-z0-9]{1,8}){0,5})", re.ASCII)

_SECOND_LETTERS = {
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
"""The two-letter codes of ISO 639-1 by their first letter; longer codes are not checked."""

_REPLACED_CODES = {"iw": "he", "in": "id", "ji": "yi", "jw": "jv", "mo": "ro"}
"""Codes that ISO 639-1 has replaced, which older systems still send."""


@lru_cache(maxsize=1024)
def normalize_language(tag: str) -> str | None:
    """Return a language tag in canonical case (RFC 5646, 2.1.1); None if it names no language.

    >>> normalize_language("uk"), normalize_language("PT_br"), normalize_language("xx")
    ('uk', 'pt-BR', None)
    """
    found = _TAG.fullmatch(tag.strip())
    if found is None:
        return None
    first = found[1].lower()
    first = _REPLACED_CODES.get(first, first)
    if len(first) == 2 and first[1] not in _SECOND_LETTERS.get(first[0], ""):
        return None
    return "-".join([first, *map(_cased, re.split("[-_]", found[2])[1:])])


def _cased(part: str) -> str:
    if len(part) == 2:
        return part.upper()
    return part.title() if len(part) == 4 and part.isalpha() else part.lower()
