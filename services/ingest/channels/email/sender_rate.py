"""Per-sender rate limit: mail above it is treated as an undetected mail loop.

Each replica counts in its own memory. A loop continues until it is detected, and mails above the
rate are parked, so a low count for a while does no harm.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

SenderKey = tuple[str, str, str]
"""The mailbox, the author's address, and what is known of the author."""


@dataclass(slots=True)
class SenderRate:
    """The recent mails of each sender; the sender whose last mail is oldest comes first."""

    _lately: OrderedDict[SenderKey, dict[str, tuple[datetime, bool]]] = field(
        default_factory=OrderedDict
    )

    def count(self, sender: SenderKey, id: str, at: datetime, allowed: tuple[int, int]) -> bool:
        """Count a mail; return whether it exceeds the rate.

        A repeated call for the same mail returns the same answer. Mails above the rate count, too:
        a sender stays blocked until it pauses.
        """
        most, seconds = allowed
        begins = at - timedelta(seconds=seconds)
        self._forget(begins)
        recent = self._lately.setdefault(sender, {})
        self._lately.move_to_end(sender)
        if id in recent:
            return recent[id][1]
        while recent and recent[first := next(iter(recent))][0] <= begins:
            del recent[first]
        too_many = len(recent) >= most
        recent[id] = (at, too_many)
        return too_many

    def is_exhausted(self, sender: SenderKey, at: datetime, allowed: tuple[int, int]) -> bool:
        """Return whether the next mail would exceed the rate."""
        most, seconds = allowed
        begins = at - timedelta(seconds=seconds)
        return sum(came > begins for came, _ in self._lately.get(sender, {}).values()) >= most

    def _forget(self, begins: datetime) -> None:
        """Forget one sender who has sent nothing since."""
        sender = next(iter(self._lately), None)
        if sender is not None:
            last, _ = next(reversed(self._lately[sender].values()))
            if last <= begins:
                del self._lately[sender]
