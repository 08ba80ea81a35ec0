"""Problem details (RFC 9457), for every error response.

Each problem has a stable slug as its `type`, for programs; `detail` is for people. Problems repeat
neither bodies nor secrets, and show no internals.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import nats.errors
import orjson
import psycopg
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.errors import NotReady, Refused, TooLarge

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20
MAX_VALUE_LENGTH = 100
_SLUGS = {400: "bad_request", 401: "unauthorized", 404: "not_found", 405: "method_not_allowed"}
"""Slugs of the framework's own errors; fixed here, because Python's phrases change."""
_PRIVATE = ("secret", "password", "token", "authorization", "key")
_STATUSES = frozenset(HTTPStatus)
_LIMITS = ("expected", "ge", "gt", "le", "lt", "pattern", "min_length", "max_length")


class Problem(HTTPException):
    """An error response with a slug for programs and a detail for people."""

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        title: str | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        """Describe an error by a stable slug; `extra` are further members of the document."""
        super().__init__(status, detail, headers)
        self.slug = slug
        self.title = title or (HTTPStatus(status).phrase if status in _STATUSES else "Problem")
        self.extra = extra

    def response(self) -> Response:
        """Return the problem as a response."""
        document = {
            "type": self.slug,
            "title": self.title,
            "status": self.status_code,
            "detail": self.detail,
            **self.extra,
        }
        return Response(
            orjson.dumps(_writable(document), default=str, option=orjson.OPT_NON_STR_KEYS),
            status_code=self.status_code,
            headers=self.headers,
            media_type=MEDIA_TYPE,
        )


def missing(kind: str, key: object) -> Problem:
    """Return 404: there is no such resource."""
    return Problem(404, "not_found", f"there is no {kind} {redact(key)}", kind=kind)


def conflict(slug: str, detail: str, **extra: Any) -> Problem:
    """Return 409: the present state does not allow it; the slug names that state."""
    return Problem(409, slug, detail, **extra)


def refused(detail: str, **extra: Any) -> Problem:
    """Return 409 `refused`: the rules forbid it."""
    return conflict("refused", detail, **extra)


def stale(current: int) -> Problem:
    """Return 412 with the current version: the resource has changed since the caller read it."""
    detail = f"the version is {current} now"
    tag = {"ETag": f'"{current}"'}
    return Problem(412, "version_changed", detail, headers=tag, version=current)


def invalid(
    detail: str,
    *,
    at: str | None = None,
    value: object = None,
    allowed: object = None,
    **extra: Any,
) -> Problem:
    """Return 422 for an invalid value, with its place, the value and the allowed ones."""
    if at is not None:
        error = {"at": at, "problem": detail, "value": redact(value), "allowed": allowed}
        extra["errors"] = [{name: part for name, part in error.items() if part is not None}]
    return Problem(422, "invalid", detail, **extra)


def unavailable(detail: str, retry_after: int = 1, **extra: Any) -> Problem:
    """Return 503, with the seconds until a retry makes sense."""
    return Problem(503, "unavailable", detail, headers={"Retry-After": str(retry_after)}, **extra)


def redact(value: object) -> str | int | float | None:
    """Return what a problem may repeat of a value: short, and no content of objects or lists."""
    match value:
        case None | bool() | int() | float():
            return value if len(repr(value)) <= MAX_VALUE_LENGTH else "a long number"
        case Mapping():
            return "an object"
        case bytes() | bytearray():
            return f"{len(value)} bytes"
        case Sequence() if not isinstance(value, str):
            return f"a list of {len(value)}"
    text = str(value)
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]}…"


def of_validation(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """Return the problem of a validation error, with each value, its place and the limits."""
    if any(error["type"] == "json_invalid" for error in errors):
        return Problem(400, "malformed", f"the body is not JSON: {errors[0]['ctx']['error']}")
    listed = [_error_entry(error) for error in errors[:MAX_ERRORS]]
    first = f"{listed[0]['at']}: {listed[0]['problem']}"
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return Problem(422, "invalid", first + more, errors=listed)


def _error_entry(error: Mapping[str, Any]) -> dict[str, Any]:
    at = ".".join(str(redact(part)) for part in error["loc"])
    entry: dict[str, Any] = {"at": at, "problem": error["msg"]}
    private = any(word in at.lower() for word in _PRIVATE)
    if error["type"] not in {"missing", "json_invalid"} and not private:
        entry["value"] = redact(error.get("input"))
    limits = {name: error["ctx"][name] for name in _LIMITS if name in error.get("ctx", {})}
    if limits:
        entry["allowed"] = limits.get("expected", limits)
    return entry


def _writable(value: Any) -> Any:
    """Escape invalid Unicode, which a hostile body may hold, and write large integers as text."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {key: _writable(part) for key, part in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_writable(part) for part in value]
        case int() if abs(value) >= 2**63:
            return str(value)
    return value


# The framework types handlers by `Exception`; each is registered for one class.


async def _of_problem(request: Request, error: Any) -> Response:
    problem: HTTPException = error
    if isinstance(problem, Problem):
        return problem.response()
    slug = _SLUGS.get(problem.status_code, f"http_{problem.status_code}")
    detail, headers = str(problem.detail), problem.headers
    if problem.status_code == 405:
        headers = {**(headers or {}), "Allow": _allowed(request)}
    return Problem(problem.status_code, slug, detail, headers=headers).response()


def _allowed(request: Request) -> str:
    """Return the methods of all routes of a path, for `Allow` (RFC 9110, 10.2.1)."""
    routes = [r for r in request.app.routes if r.matches(request.scope)[0] != Match.NONE]
    return ", ".join(sorted({method for r in routes for method in getattr(r, "methods", ())}))


async def _of_invalid(_: Request, error: Any) -> Response:
    return of_validation(error.errors()).response()


async def _of_refused(_: Request, error: Exception) -> Response:
    return refused(str(error)).response()


async def _of_too_large(_: Request, error: Exception) -> Response:
    return Problem(413, "too_large", str(error)).response()


async def _of_unstorable(_: Request, error: Exception) -> Response:
    log.warning("value refused by the database", exc_info=error)
    return invalid("a value cannot be stored; a NUL character, perhaps").response()


async def _of_away(_: Request, error: Exception) -> Response:
    log.warning("a dependency is not available", exc_info=error)
    return unavailable("something this needs is away; ask again shortly").response()


class _Unexpected:
    """Answers unexpected exceptions with 500, and logs them once."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_observed(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_observed)
        except ClientDisconnect:
            log.debug("the client is gone")
        except Exception:
            log.exception("unexpected")
            if started or scope["type"] != "http":
                raise
            problem = Problem(500, "unexpected", "something went wrong here; it has been noted")
            await problem.response()(scope, receive, send)


def install(app: FastAPI) -> None:
    """Answer every error of this app with a problem document."""
    app.add_exception_handler(HTTPException, _of_problem)
    app.add_exception_handler(RequestValidationError, _of_invalid)
    app.add_exception_handler(Refused, _of_refused)
    app.add_exception_handler(TooLarge, _of_too_large)
    app.add_exception_handler(psycopg.DataError, _of_unstorable)
    for unavailable_error in (NotReady, psycopg.OperationalError, nats.errors.Error):
        app.add_exception_handler(unavailable_error, _of_away)
    app.add_middleware(_Unexpected)
