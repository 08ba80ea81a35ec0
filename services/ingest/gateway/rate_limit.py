"""How much one account may send: a bucket of tokens for each, in this process."""

from collections import OrderedDict
from collections.abc import Callable

MAX_BUCKETS = 10_000
"""Accounts whose buckets are kept; one that was forgotten begins with a full bucket."""


class RateLimit:
    """A bucket per account: full, it allows a burst; it fills at the given rate."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, ...], tuple[float, float]] = OrderedDict()

    def wait(self, account: tuple[str, ...], rate: float, burst: float = 0.0) -> float:
        """Take one token; gives 0, or the seconds after which there will be one.

        `burst` is how many may be taken at once: not fewer than one, nor than a second brings.
        """
        now = self._clock()
        burst = max(burst, rate, 1.0)
        tokens, at = self._buckets.pop(account, (burst, now))
        tokens = min(burst, tokens + (now - at) * rate)
        missing = 1.0 - tokens
        self._buckets[account] = (tokens if missing > 0 else tokens - 1.0, now)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return missing / rate if missing > 0 else 0.0
