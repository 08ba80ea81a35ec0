"""What is said when something cannot be done: RFC 9457 problem details.

Every problem has a stable slug as its `type`; programs decide by it, people read `detail`.
Neither bodies nor secrets are repeated, and nothing of the inside is shown.
One file, though long: what may be shown of a value and how it is shown belong together.
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
"""What the framework itself refuses with; written out, as Python's own names change."""
_PRIVATE = ("secret", "password", "token", "authorization", "key")
_STATUSES = frozenset(HTTPStatus)
_LIMITS = ("expected", "ge", "gt", "le", "lt", "pattern", "min_length", "max_length")


class Problem(HTTPException):
    """Something that cannot be done, said so that a program and a person understand it."""

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
        """Name it by a slug that never changes; `extra` are further members of the document."""
        super().__init__(status, detail, headers)
        self.slug = slug
        self.title = title or (HTTPStatus(status).phrase if status in _STATUSES else "Problem")
        self.extra = extra

    def response(self) -> Response:
        """Write it as a response."""
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
    """Say that there is no such thing."""
    return Problem(404, "not_found", f"there is no {kind} {redact(key)}", kind=kind)


def conflict(slug: str, detail: str, **extra: Any) -> Problem:
    """Say that it does not go with how things stand; the slug names how they stand."""
    return Problem(409, slug, detail, **extra)


def refused(detail: str, **extra: Any) -> Problem:
    """Say that the rules forbid it."""
    return conflict("refused", detail, **extra)


def stale(current: int) -> Problem:
    """Say that the thing has changed since the caller saw it, and which version it has now."""
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
    """Say that a value cannot be taken: where it stood, what it was, what is allowed."""
    if at is not None:
        error = {"at": at, "problem": detail, "value": redact(value), "allowed": allowed}
        extra["errors"] = [{name: part for name, part in error.items() if part is not None}]
    return Problem(422, "invalid", detail, **extra)


def unavailable(detail: str, retry_after: int = 1, **extra: Any) -> Problem:
    """Say that it cannot be done now, and after how many seconds to ask again."""
    return Problem(503, "unavailable", detail, headers={"Retry-After": str(retry_after)}, **extra)


def redact(value: object) -> str | int | float | None:
    """Give as much of a value as may be repeated: short, and never the inside of a body."""
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
    """Tell each value a request was refused for, where it stood and what would be allowed."""
    if any(error["type"] == "json_invalid" for error in errors):
        return Problem(400, "malformed", f"the body is not JSON: {errors[0]['ctx']['error']}")
    listed = [_error_entry(error) for error in errors[:MAX_ERRORS]]
    first = f"{listed[0]['at']}: {listed[0]['problem']}"
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return Problem(422, "invalid", first + more, errors=listed)


def _error_entry(error: Mapping[str, Any]) -> dict[str, Any]:
    at = ".".join(str(redact(part)) for part in error["loc"])
    told: dict[str, Any] = {"at": at, "problem": error["msg"]}
    private = any(word in at.lower() for word in _PRIVATE)
    if error["type"] not in {"missing", "json_invalid"} and not private:
        told["value"] = redact(error.get("input"))
    limits = {name: error["ctx"][name] for name in _LIMITS if name in error.get("ctx", {})}
    if limits:
        told["allowed"] = limits.get("expected", limits)
    return told


def _writable(value: Any) -> Any:
    """Make text that is no Unicode, as a hostile body may hold, writable."""
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


# The framework types handlers by `Exception`; each is registered for its own.


async def _of_problem(request: Request, error: Any) -> Response:
    problem: HTTPException = error
    if isinstance(problem, Problem):
        return problem.response()
    slug = _SLUGS.get(problem.status_code, f"http_{problem.status_code}")
    said, headers = str(problem.detail), problem.headers
    if problem.status_code == 405:
        headers = {**(headers or {}), "Allow": _allowed(request)}
    return Problem(problem.status_code, slug, said, headers=headers).response()


def _allowed(request: Request) -> str:
    """Give the methods of all routes of an address: each knows its own only (RFC 9110, 10.2.1)."""
    here = [each for each in request.app.routes if each.matches(request.scope)[0] != Match.NONE]
    return ", ".join(sorted({method for each in here for method in getattr(each, "methods", ())}))


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
    log.warning("something needed is away", exc_info=error)
    return unavailable("something this needs is away; ask again shortly").response()


class _Unexpected:
    """Answers what nobody expected, and logs it once."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noticed(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, noticed)
        except ClientDisconnect:
            log.debug("the client is gone")
        except Exception:
            log.exception("unexpected")
            if started or scope["type"] != "http":
                raise
            problem = Problem(500, "unexpected", "something went wrong here; it has been noted")
            await problem.response()(scope, receive, send)


def install(app: FastAPI) -> None:
    """Make everything that goes wrong in this app a problem document."""
    app.add_exception_handler(HTTPException, _of_problem)
    app.add_exception_handler(RequestValidationError, _of_invalid)
    app.add_exception_handler(Refused, _of_refused)
    app.add_exception_handler(TooLarge, _of_too_large)
    app.add_exception_handler(psycopg.DataError, _of_unstorable)
    for away in (NotReady, psycopg.OperationalError, nats.errors.Error):
        app.add_exception_handler(away, _of_away)
    app.add_middleware(_Unexpected)
