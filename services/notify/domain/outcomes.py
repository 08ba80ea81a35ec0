"""Outcomes of an attempt to send, and checks of the values that a platform returns."""

from dataclasses import dataclass

MAX_WAIT_S = 3600.0
"""The longest wait that a platform may ask for; its `retry_after` is untrusted input."""

MAX_REASON_CHARS = 255


@dataclass(frozen=True, slots=True)
class Sent:
    """The platform accepted the message."""

    platform_id: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """The platform did not accept the message, and may accept it later."""

    reason: str
    after: float | None = None
    """Seconds until the next attempt; None leaves them to the backoff."""
    account_suspended: bool = False
    """Whether nothing can be sent through the whole account until then."""
    chat: str | None = None
    """The new name of the chat, when it has moved."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The platform did not accept the message, and never will."""

    reason: str
    permanent: bool = False
    """Whether the address accepts no message at all."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The platform may or may not have accepted the message."""

    reason: str
    possibly_accepted: bool = True
    """Whether it may have been accepted; False when only a gateway answered."""


Outcome = Sent | Retry | Refused | Unknown


def requested_wait(value: object) -> float | None:
    """Return the seconds a platform asks to wait, `MAX_WAIT_S` at most; None if it is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 10**8:
        return None
    return min(float(value), MAX_WAIT_S)


def printable(text: str | None, max_chars: int = MAX_REASON_CHARS) -> str | None:
    """Return text of a platform as it may be stored: truncated, and U+FFFD for what is unprintable.

    Unprintable are control characters and lone surrogates.
    """
    return text and "".join(c if c.isprintable() else "\ufffd" for c in text[:max_chars])
