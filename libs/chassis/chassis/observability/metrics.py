"""All metrics of the chassis, served at `/metrics`.

Labels have few values: names of services, readers and roles, route templates, methods and statuses;
never an id, an address or anything a sender wrote.
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
"""The metrics of this process."""

ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def counter(name: str, meaning: str, *labels: str) -> Counter:
    """Create a counter with the label `service`."""
    return Counter(f"trunkline_{name}", meaning, ("service", *labels), registry=REGISTRY)


def gauge(name: str, meaning: str, *labels: str) -> Gauge:
    """Create a gauge with the label `service`."""
    return Gauge(f"trunkline_{name}", meaning, ("service", *labels), registry=REGISTRY)


def histogram(
    name: str, meaning: str, *labels: str, buckets: tuple[float, ...] = BUCKETS_S
) -> Histogram:
    """Create a histogram with the label `service`; in seconds, unless the name says otherwise."""
    full = ("service", *labels)
    return Histogram(f"trunkline_{name}", meaning, full, registry=REGISTRY, buckets=buckets)


http_requests = counter("http_requests_total", "Requests answered", "route", "method", "status")
http_seconds = histogram(
    "http_request_seconds", "Seconds until the answer begins", "route", "method"
)
http_refused = counter(
    "http_refused_total", "Requests refused before they reach the application", "reason"
)

reader_lag = gauge("reader_lag", "Facts of the stream that are not read yet", "reader")
reader_silent = gauge("reader_silent_seconds", "Seconds since the reader's last progress", "reader")
reader_applied = counter("reader_applied_total", "Facts applied", "reader")
reader_parked = counter("reader_parked_total", "Facts parked", "reader")
reader_foreign = counter("reader_foreign_total", "Messages from an unknown publisher", "reader")
reader_late = gauge("reader_waiting_late", "Facts deferred for more than 30 s", "reader")
reader_behind = gauge("reader_behind", "1 while facts are replayed by their owner", "reader")

relay_position = gauge("relay_position", "Outbox position published up to")
relay_lag = gauge("relay_lag", "Positions of the outbox not yet published")
relay_silent = gauge("relay_silent_seconds", "Seconds since the relay's last progress")
relay_alarm = gauge("relay_alarm", "1 while the relay is stopped by an error")
relay_foreign = counter("relay_foreign_total", "Messages from an unknown publisher, skipped")

leader = gauge("leader", "1 while this replica holds the role", "role")
nats_errors = counter("nats_errors_total", "Errors of the connection to NATS")
