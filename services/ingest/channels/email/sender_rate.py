"""How fast mails of one address come: what exceeds it may be a loop nobody recognised as one.

Counted by each replica for itself, in memory: a loop goes on until it is seen, and what is not
taken in is parked, so a count that is too low for a while does no harm.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

Who = tuple[str, str, str]
"""A mailbox, an address that writes to it, and what is known of who that is."""


@dataclass(slots=True)
class Pace:
    """What came lately, by whom; those whose last mail is oldest come first."""

    _lately: OrderedDict[Who, dict[str, tuple[datetime, bool]]] = field(default_factory=OrderedDict)

    def exceeded(self, who: Who, id: str, at: datetime, allowed: tuple[int, int]) -> bool:
        """Whether a mail is one too many; asked again about the same, the answer is the same.

        What was too much counts as well, so who goes on is not heard until they stop.
        """
        most, seconds = allowed
        begins = at - timedelta(seconds=seconds)
        self._forget(begins)
        lately = self._lately.setdefault(who, {})
        self._lately.move_to_end(who)
        if id in lately:
            return lately[id][1]
        while lately and lately[first := next(iter(lately))][0] <= begins:
            del lately[first]
        too_many = len(lately) >= most
        lately[id] = (at, too_many)
        return too_many

    def reached(self, who: Who, at: datetime, allowed: tuple[int, int]) -> bool:
        """Whether the next one would be one too many."""
        most, seconds = allowed
        begins = at - timedelta(seconds=seconds)
        return sum(came > begins for came, _ in self._lately.get(who, {}).values()) >= most

    def _forget(self, begins: datetime) -> None:
        """Let go of one who has not written since."""
        who = next(iter(self._lately), None)
        if who is not None:
            last, _ = next(reversed(self._lately[who].values()))
            if last <= begins:
                del self._lately[who]
