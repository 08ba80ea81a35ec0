"""STUB by the lead so that the core can run: builder C, replace me, keeping `metrics`, `configure(name, settings)`, `install(app, name)`."""

from types import SimpleNamespace
from typing import Any

from prometheus_client import REGISTRY, Counter, Gauge, generate_latest
from fastapi import FastAPI, Response


def _g(name: str, *labels: str) -> Gauge:
    return Gauge(f"trunkline_{name}", name, ("service", *labels))


def _c(name: str, *labels: str) -> Counter:
    return Counter(f"trunkline_{name}", name, ("service", *labels))


metrics = SimpleNamespace(
    nats_errors=_c("nats_errors_total"),
    leader=_g("leader", "office"),
    foreign=_c("reader_foreign_total", "reader"),
    reader_lag=_g("reader_lag", "reader"),
    applied=_c("reader_applied_total", "reader"),
    parked=_c("reader_parked_total", "reader"),
    waiting=_g("reader_waiting_late", "reader"),
    behind=_g("reader_behind", "reader"),
    relay_alarm=_g("relay_alarm"),
    relay_position=_g("relay_position"),
)


def configure(name: str, settings: Any) -> None:
    import logging

    logging.basicConfig(level=settings.log_level)


def install(app: FastAPI, name: str) -> None:
    @app.get("/metrics")
    async def metrics_() -> Response:
        return Response(generate_latest(REGISTRY), media_type="text/plain")
