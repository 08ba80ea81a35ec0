"""The one form in which addresses are compared, however somebody wrote them."""

import re
import unicodedata

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_ATOM = r'[^\s\x00-\x1f\x7f@<>,;:()\[\]"\\.]+'
_ATOMS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_DOTS = re.compile("[\u3002\uff0e\uff61]")
_FOREIGN = re.compile(r'[\s\x00-\x1f\x7f@<>,;:()"\\]')
LONGEST_LABEL = 63
_OF_THE_MAIL = frozenset({"2.3", "3.4", "4.7"})
_DECORATION = re.compile("[\\s().\u2010-\u2015\u2212-]+")
_NUMBER = re.compile(r"\+?[0-9]{3,20}")


def mail_address(told: str) -> str:
    """Give an e-mail address in the form it is known by; what is none is only made lower-case.

    Letter case and space around it do not count; quotes only where they are needed (RFC 5322,
    3.4.1); a domain of any alphabet is written in ASCII (RFC 5890, 2.3.2.1). Tags and dots stay:
    what they mean is known to the domain alone (RFC 5321, 2.3.11).
    """
    told = told.strip()
    local, at, domain = told.rpartition("@")
    if not at:
        return told.lower()
    return f"{_local(local)}@{_domain(domain)}"


def takes_no_mail(status: str) -> bool:
    """Whether a mail server's status (RFC 3463) is about the address, and for good.

    What is said of the mail (5.2.3, 5.3.4, 5.6), of whoever sent it (5.7) or of a wait that was too
    long (5.4.7) may be otherwise for the next; so may all that is temporary (4).
    """
    kind, _, about = status.partition(".")
    return kind == "5" and about not in _OF_THE_MAIL and about[:2] not in {"6.", "7."}


def phone_number(told: str) -> str:
    """Give a phone number without what is there for the eye; what is none stays as it is.

    Of which country a number without a plus is, only who dials it knows (ITU-T E.164, E.123).
    """
    bare = _DECORATION.sub("", told)
    return bare if _NUMBER.fullmatch(bare) else told


def _local(written: str) -> str:
    local = unicodedata.normalize("NFC", written.strip().lower())
    quoted = _QUOTED.fullmatch(local)
    if quoted is None:
        return local
    meant = _PAIR.sub(r"\1", quoted[1])
    if _ATOMS.fullmatch(meant):
        return meant
    return '"' + re.sub(r'(["\\])', r"\\\1", meant) + '"'


def _domain(written: str) -> str:
    """Write a domain in ASCII, mapped as UTS #46 does; `ß` and `ς` are letters of their own."""
    written = written.strip()
    if written.isascii():
        return written.lower()
    mapped = _DOTS.sub(".", _lower(unicodedata.normalize("NFKC", _lower(written))))
    if _FOREIGN.search(mapped):
        return _lower(written)
    return ".".join(map(_label, unicodedata.normalize("NFC", mapped).split(".")))


def _lower(text: str) -> str:
    """Make every letter lower-case by itself, wherever in a word it stands."""
    return "".join(letter.lower() for letter in text)


def _label(label: str) -> str:
    if label.isascii():
        return label
    try:
        ascii_label = "xn--" + label.encode("punycode").decode("ascii")
    except UnicodeError:
        return label
    return ascii_label if len(ascii_label) <= LONGEST_LABEL else label
