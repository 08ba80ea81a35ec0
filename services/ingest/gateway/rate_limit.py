"""Rate limit per account, by token buckets in this process."""

from collections import OrderedDict
from collections.abc import Callable

MAX_BUCKETS = 10_000
"""Buckets kept in memory; one that was dropped is full when it is needed again."""


class RateLimit:
    """Token buckets by key: a full bucket allows a burst, and refills at the given rate."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, ...], tuple[float, float]] = OrderedDict()

    def acquire(self, key: tuple[str, ...], rate: float, burst: float = 0.0) -> float:
        """Take one token and return 0, or return the seconds until there is one.

        `rate` is in tokens a second. `burst` is the bucket's size, at least one token and the
        tokens of one second.
        """
        now = self._clock()
        burst = max(burst, rate, 1.0)
        tokens, updated_at = self._buckets.pop(key, (burst, now))
        tokens = min(burst, tokens + (now - updated_at) * rate)
        missing = 1.0 - tokens
        self._buckets[key] = (tokens if missing > 0 else tokens - 1.0, now)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return missing / rate if missing > 0 else 0.0
