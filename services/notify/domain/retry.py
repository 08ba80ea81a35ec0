"""The retry policy: the next step of a message after an attempt."""

from dataclasses import dataclass

from notify.domain.outcomes import Outcome, Refused, Retry, Sent, Unknown, printable

RESEND_DELAYS_S = (1.0, 60.0)
"""Seconds until a message that may have been accepted is sent again, for each repetition."""

GIVE_UP_AFTER_S = 24 * 3600.0
"""The age in seconds from which a message is not attempted again."""

CREDENTIAL_PAUSE_S = 60.0
"""Seconds for which an account is suspended after its credential or address was refused."""

MAX_BACKOFF_S = 300
MAX_CHAT_CHARS = 2000


def backoff(attempts: int) -> float:
    """Return the seconds until the next attempt: doubling from 1 to `MAX_BACKOFF_S`."""
    return float(min(2 ** max(attempts - 1, 0), MAX_BACKOFF_S))


@dataclass(frozen=True, slots=True)
class NextStep:
    """The next state of a message; `delay` is in seconds, None when no attempt follows."""

    state: str
    delay: float | None = None
    platform_id: str | None = None
    reason: str | None = None
    chat: str | None = None
    possible_duplicate: bool = False
    """Whether the customer may have received the message in this attempt."""
    permanent: bool = False
    """Whether the address accepts no message at all."""


def next_step(
    outcome: Outcome, attempts: int, age: float, *, resend: bool, possible_duplicates: int = 0
) -> NextStep:
    """Return the next step after an attempt, by its outcome and the message's age in seconds.

    An unknown outcome is not a failure: the message is sent again only if `resend` is set. After
    `possible_duplicates` attempts that may have arrived, as many as `RESEND_DELAYS_S` allows, it
    fails, so that a person looks at it.
    """
    is_late = age > GIVE_UP_AFTER_S
    match outcome:
        case Sent(platform_id):
            return NextStep("sent", platform_id=printable(platform_id))
        case Refused(reason, permanent):
            return NextStep("failed", reason=printable(reason), permanent=permanent)
        case Unknown(reason) if not resend:
            return NextStep("unknown", reason=printable(reason))
        case Unknown(reason, possibly_accepted):
            if is_late or (possibly_accepted and possible_duplicates >= len(RESEND_DELAYS_S)):
                detail = f"nobody can say whether it arrived: {reason}"
                return NextStep("failed", reason=printable(detail))
            delay = RESEND_DELAYS_S[possible_duplicates] if possibly_accepted else backoff(attempts)
            return NextStep(
                "unknown", delay, reason=printable(reason), possible_duplicate=possibly_accepted
            )
        case Retry(reason, wait, _, chat):
            if is_late:
                return NextStep("failed", reason=printable(f"given up: {reason}"))
            delay = backoff(attempts) if wait is None else wait
            moved = chat if chat == printable(chat, MAX_CHAT_CHARS) else None
            return NextStep("intended", delay, None, printable(reason), moved)
