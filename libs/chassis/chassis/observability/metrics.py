"""What is measured, all in one place; served at `/metrics`.

Labels are bounded: names of services, readers and offices, route templates, methods and statuses;
never an id, an address or anything somebody sent.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

REGISTRY = CollectorRegistry()
"""What this process measures."""

ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def counter(name: str, meaning: str, *labels: str) -> Counter:
    """Make something that only grows, kept per service."""
    return Counter(f"trunkline_{name}", meaning, ("service", *labels), registry=REGISTRY)


def gauge(name: str, meaning: str, *labels: str) -> Gauge:
    """Make something that goes up and down, kept per service."""
    return Gauge(f"trunkline_{name}", meaning, ("service", *labels), registry=REGISTRY)


def histogram(
    name: str, meaning: str, *labels: str, buckets: tuple[float, ...] = BUCKETS
) -> Histogram:
    """Make a distribution, of seconds unless its name says otherwise, kept per service."""
    full = ("service", *labels)
    return Histogram(f"trunkline_{name}", meaning, full, registry=REGISTRY, buckets=buckets)


http_requests = counter("http_requests_total", "Answered", "route", "method", "status")
http_seconds = histogram("http_request_seconds", "Until the answer began", "route", "method")
http_refused = counter("http_refused_total", "Refused before the application was asked", "reason")

reader_lag = gauge("reader_lag", "Facts of the stream that wait to be pulled", "reader")
reader_silent = gauge("reader_silent_seconds", "Since the reader went its last round", "reader")
applied = counter("reader_applied_total", "Facts applied", "reader")
parked = counter("reader_parked_total", "Facts parked", "reader")
foreign = counter("reader_foreign_total", "Messages that are no facts of the owner's", "reader")
waiting = gauge("reader_waiting_late", "Facts that have waited too long", "reader")
behind = gauge("reader_behind", "1 while waiting for a replay from the owner", "reader")

relay_position = gauge("relay_position", "Outbox position published up to")
relay_lag = gauge("relay_lag", "Positions of the outbox not yet published")
relay_silent = gauge("relay_silent_seconds", "Since the relay went its last round")
relay_alarm = gauge("relay_alarm", "1 while stopped for what is, or does not fit, in the stream")
relay_foreign = counter("relay_foreign_total", "Messages stepped over that are not the relay's")

leader = gauge("leader", "1 while this replica holds the role", "role")
nats_errors = counter("nats_errors_total", "Errors of the connection to NATS")
