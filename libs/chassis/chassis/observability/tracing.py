"""Traces, and the set-up of logs and metrics for a service.

A trace is passed from request to fact to the next service as a W3C `traceparent`, whether or not
spans are exported. They are exported when `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector and the
exporter (`opentelemetry-exporter-otlp-proto-http`) is installed.
"""

import importlib
import os
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial

import structlog
from fastapi import FastAPI, Request, Response
from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from prometheus_client.exposition import choose_encoder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.observability import logs, metrics
from chassis.settings import Settings

__all__ = [
    "configure",
    "continued",
    "install",
    "metrics",
    "record",
    "record_applied",
    "traceparent",
]

log = structlog.get_logger()

EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNTRUSTED_HEADERS = frozenset({b"baggage", b"tracestate"})
"""Headers that are removed from requests, because they would pass on a sender's text."""
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class _Tracing:
    tracer: trace.Tracer | None = None  # None: spans are not recorded, only passed on


def configure(name: str, settings: Settings) -> None:
    """Configure logging for this service, and the export of spans if a collector is set."""
    logs.configure(name, settings.log_level)
    variables = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    if not any(os.environ.get(variable) for variable in variables):
        return
    try:
        exporter = importlib.import_module(EXPORTER).OTLPSpanExporter()
    except ImportError:
        log.warning("spans are not exported: no exporter is installed", wanted=EXPORTER)
        return
    provider = TracerProvider(resource=Resource.create({"service.name": f"trunkline-{name}"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    record(provider)


def record(provider: TracerProvider | None) -> None:
    """Record spans with this provider; with None, only pass traces on."""
    _Tracing.tracer = provider.get_tracer("trunkline") if provider else None


def traceparent() -> str | None:
    """Return the `traceparent` of the current span; None outside a trace."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@contextmanager
def continued(
    parent: str | None,
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str | int] | None = None,
) -> Iterator[Span]:
    """Run the block in a span of the trace of this `traceparent`.

    Without one the span belongs to the current trace, or begins a new one; a malformed one begins a
    new trace. Baggage is not passed on.
    """
    above = _above(parent)
    if _Tracing.tracer is not None:
        span = _Tracing.tracer.start_span(name, above, kind, dict(attributes or {}))
    elif (context := trace.get_current_span(above).get_span_context()).is_valid:
        span = NonRecordingSpan(context)
    else:
        span = NonRecordingSpan(_fresh())
    token = attach(set_span_in_context(span, above))
    try:
        yield span
    except Exception as error:
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise
    finally:
        detach(token)
        span.end()


def record_applied(name: str, things: Iterable[object], began: int) -> None:
    """Record a span for each fact of an applied batch, in the fact's own trace.

    `began` is in nanoseconds since 1970. Does nothing while spans are not recorded.
    """
    if _Tracing.tracer is None:
        return
    for thing in things:
        if parent := getattr(thing, "traceparent", None):
            kind = {"messaging.operation.type": "process", "messaging.system": "nats"}
            above, what = _above(parent), getattr(thing, "type", "delivery")
            span = _Tracing.tracer.start_span(
                f"{name} {what}", above, SpanKind.CONSUMER, kind, start_time=began
            )
            span.end()


def _above(parent: str | None) -> Context:
    if parent is None:
        return set_span_in_context(trace.get_current_span(), Context())
    match = _TRACEPARENT.fullmatch(parent)
    if match is None:
        return Context()
    context = SpanContext(
        int(match[1], 16),
        int(match[2], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(match[3], 16)),
    )
    return set_span_in_context(NonRecordingSpan(context), Context())


def _fresh() -> SpanContext:
    trace_id, span_id = random.getrandbits(128) or 1, random.getrandbits(64) or 1
    return SpanContext(trace_id, span_id, is_remote=False)


class TracingMiddleware:
    """Runs each request in a trace, and counts and times it by its route."""

    def __init__(self, app: ASGIApp, service: str) -> None:
        """Wrap `app`; `service` labels the metrics."""
        self.app = app
        self._counts = cache(partial(metrics.http_requests.labels, service))
        self._times = cache(partial(metrics.http_seconds.labels, service))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, answered = (
            time.perf_counter(),
            499,
            0.0,
        )  # 499: the client left before an answer

        async def send_observed(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], time.perf_counter()
            await send(message)

        parent = _admit(scope)
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        with continued(parent or "", method, kind=SpanKind.SERVER) as span:
            try:
                await self.app(scope, receive, send_observed)
            finally:
                route = getattr(scope.get("route"), "path", "unmatched")
                seconds = (answered or time.perf_counter()) - began
                self._counts(route, method, status).inc()
                self._times(route, method).observe(seconds)
                if span.is_recording():
                    span.update_name(f"{method} {route}")
                    span.set_attributes({"http.route": route, "http.response.status_code": status})


def _admit(scope: Scope) -> str | None:
    """Return the `traceparent` of a request, and remove its untrusted headers."""
    parent: str | None = None
    for name, value in scope["headers"]:
        if name == b"traceparent":
            parent = value.decode("latin-1")
        elif name in UNTRUSTED_HEADERS:
            scope["headers"] = [
                each for each in scope["headers"] if each[0] not in UNTRUSTED_HEADERS
            ]
    return parent


async def prometheus_metrics(request: Request) -> Response:
    """Return the metrics of this process, for Prometheus."""
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(metrics.REGISTRY), headers={"content-type": media_type})


def install(app: FastAPI, name: str) -> None:
    """Trace and time every request of this app, and serve `/metrics`."""
    app.add_middleware(TracingMiddleware, service=name)
    app.add_api_route(
        "/metrics",
        prometheus_metrics,
        name="measured",  # part of the operation id in generated clients
        tags=["operations"],
        response_class=Response,
    )
