"""Logs: one JSON object a line on standard output, with the trace it belongs to.

Nothing personal: of an exception the kind and the places are told, and its message only where the
kind is known to speak of the program or its servers rather than of what somebody wrote.
"""

import logging
import sys
import traceback
from types import TracebackType
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
"""Exceptions whose messages hold nothing anybody wrote to us."""

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
"""Libraries whose everyday words are no news, and may hold addresses with secrets in them."""

MAX_FRAMES = 15

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class _Stdout(logging.Handler):
    """Writes to whatever standard output is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stdout.write(self.format(record) + "\n")
            sys.stdout.flush()
        except Exception:  # noqa: BLE001 - logging must never fail its caller
            self.handleError(record)


def configure(service: str, level: str) -> None:
    """Log as this service, from this level on. Called again, it replaces what was set before."""

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
    root.handlers = [each for each in root.handlers if not isinstance(each, _Stdout)]
    root.addHandler(handler)
    root.setLevel(level)
    for name in QUIET_LIBRARIES:
        library = logging.getLogger(name)
        library.setLevel(logging.WARNING)
        library.handlers, library.propagate = [], True


def add_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add which trace, and which part of it, is being worked on."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace"] = trace.format_trace_id(context.trace_id)
        event["span"] = trace.format_span_id(context.span_id)
    return event


def render_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Tell an exception by its kind and places, and by its words only where they are harmless."""
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
    told: dict[str, Any] = {"kind": f"{kind.__module__}.{kind.__qualname__}"}
    if isinstance(error, SAFE_TO_LOG):
        told["said"] = str(error)
    if isinstance(error, psycopg.Error) and error.sqlstate:
        told["sqlstate"] = error.sqlstate
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    told["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    if (cause := error.__cause__ or error.__context__) is not None and depth < 3:
        told["because"] = _describe_error(cause, depth + 1)
    return told


def _dumps(event: EventDict, **_: Any) -> str:
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
    try:
        return orjson.dumps(event, default=str, option=options).decode()
    except orjson.JSONEncodeError:  # text that is no Unicode
        return ascii(event)
