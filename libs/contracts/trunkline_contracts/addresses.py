"""Canonical forms of e-mail addresses and phone numbers, so that spellings compare equal."""

import re
import unicodedata

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_ATOM = r'[^\s\x00-\x1f\x7f@<>,;:()\[\]"\\.]+'
_ATOMS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_DOTS = re.compile("[\u3002\uff0e\uff61]")
_FOREIGN = re.compile(r'[\s\x00-\x1f\x7f@<>,;:()"\\]')
MAX_LABEL_LENGTH = 63
_ABOUT_THE_MAIL = frozenset({"2.3", "3.4", "4.7"})
_DECORATION = re.compile("[\\s().\u2010-\u2015\u2212-]+")
_NUMBER = re.compile(r"\+?[0-9]{3,20}")


def mail_address(address: str) -> str:
    """Return the canonical form of an e-mail address; other text is only made lower-case.

    Case and surrounding space are removed, and quotes that are not needed (RFC 5322, 3.4.1). A
    domain in any alphabet is written in ASCII (RFC 5890, 2.3.2.1). Tags and dots stay: only the
    domain itself knows what they mean (RFC 5321, 2.3.11).
    """
    address = address.strip()
    local, at, domain = address.rpartition("@")
    if not at:
        return address.lower()
    return f"{_local(local)}@{_domain(domain)}"


def takes_no_mail(status: str) -> bool:
    """Return True if a mail server's status (RFC 3463) is a permanent failure of the address.

    Failures of the mail (5.2.3, 5.3.4, 5.6), of its sender (5.7) and after a timeout (5.4.7) may
    not repeat with the next mail; nor may temporary ones (4).
    """
    kind, _, about = status.partition(".")
    return kind == "5" and about not in _ABOUT_THE_MAIL and about[:2] not in {"6.", "7."}


def phone_number(number: str) -> str:
    """Return a phone number without spaces, brackets and dashes; other text is not changed.

    The country of a number without a plus is not known here (ITU-T E.164, E.123).
    """
    bare = _DECORATION.sub("", number)
    return bare if _NUMBER.fullmatch(bare) else number


def _local(written: str) -> str:
    local = unicodedata.normalize("NFC", written.strip().lower())
    quoted = _QUOTED.fullmatch(local)
    if quoted is None:
        return local
    unquoted = _PAIR.sub(r"\1", quoted[1])
    if _ATOMS.fullmatch(unquoted):
        return unquoted
    return '"' + re.sub(r'(["\\])', r"\\\1", unquoted) + '"'


def _domain(written: str) -> str:
    """Return a domain in ASCII, mapped as in UTS #46; `ß` and `ς` are not mapped."""
    written = written.strip()
    if written.isascii():
        return written.lower()
    mapped = _DOTS.sub(".", _lower(unicodedata.normalize("NFKC", _lower(written))))
    if _FOREIGN.search(mapped):
        return _lower(written)
    return ".".join(map(_label, unicodedata.normalize("NFC", mapped).split(".")))


def _lower(text: str) -> str:
    """Return the text with each letter in lower case, whatever its place in a word."""
    return "".join(letter.lower() for letter in text)


def _label(label: str) -> str:
    if label.isascii():
        return label
    try:
        ascii_label = "xn--" + label.encode("punycode").decode("ascii")
    except UnicodeError:
        return label
    return ascii_label if len(ascii_label) <= MAX_LABEL_LENGTH else label
