"""Logs: one JSON object per line on standard output, with trace and span.

Logs hold no personal data: of an exception they have the class and the frames, and its message only
for classes whose messages are about the program or its servers.
"""

import logging
import sys
import traceback
from typing import Any

import nats.errors
import orjson
import psycopg
import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

SAFE_TO_LOG = (
    OSError,
    ImportError,
    AttributeError,
    NameError,
    TypeError,
    RuntimeError,
    psycopg.OperationalError,
    nats.errors.Error,
)
"""Exceptions whose messages hold nothing that senders wrote."""

QUIET_LIBRARIES = (
    "httpx",
    "httpcore",
    "nats",
    "faststream",
    "asyncio",
    "uvicorn",
    "psycopg.pool",
    "yoyo",
)
"""Libraries whose routine messages are noise, and may hold URLs with secrets."""

MAX_FRAMES = 15


class _Stdout(logging.Handler):
    """Writes to the current `sys.stdout`, which tests replace."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stdout.write(self.format(record) + "\n")
            sys.stdout.flush()
        except Exception:  # noqa: BLE001 - logging must never fail its caller
            self.handleError(record)


def configure(service: str, level: str) -> None:
    """Configure logging for a service and a level; a second call replaces the handler."""

    def named(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        named,
        add_trace,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = _Stdout()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                render_exception,
                structlog.processors.JSONRenderer(serializer=_dumps),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Stdout)]
    root.addHandler(handler)
    root.setLevel(level)
    for name in QUIET_LIBRARIES:
        library = logging.getLogger(name)
        library.setLevel(logging.WARNING)
        library.handlers, library.propagate = [], True


def add_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the ids of the current trace and span."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace"] = trace.format_trace_id(context.trace_id)
        event["span"] = trace.format_span_id(context.span_id)
    return event


def render_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace an exception by its class and frames, and its message only where that is harmless."""
    info = event.pop("exc_info", None)
    error = _error(info)
    if error is not None:
        event["error"] = _describe_error(error)
    return event


def _error(info: Any) -> BaseException | None:
    match info:
        case BaseException():
            return info
        case (_, BaseException() as error, _):
            return error
        case True:
            return sys.exc_info()[1]
    return None


def _describe_error(error: BaseException, depth: int = 0) -> dict[str, Any]:
    kind = type(error)
    described: dict[str, Any] = {"kind": f"{kind.__module__}.{kind.__qualname__}"}
    if isinstance(error, SAFE_TO_LOG):
        described["said"] = str(error)
    if isinstance(error, psycopg.Error) and error.sqlstate:
        described["sqlstate"] = error.sqlstate
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    described["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    if (cause := error.__cause__ or error.__context__) is not None and depth < 3:
        described["because"] = _describe_error(cause, depth + 1)
    return described


def _dumps(event: EventDict, **_: Any) -> str:
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
    try:
        return orjson.dumps(event, default=str, option=options).decode()
    except orjson.JSONEncodeError:  # text that is not valid Unicode
        return ascii(event)
