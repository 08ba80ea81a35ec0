"""HTTP conventions of all services: pages, `ETag`s, idempotency keys and body limits."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Depends, FastAPI, Header, Query, Response
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.web.problems import Problem, invalid

Row = TypeVar("Row")

MAX_BODY_BYTES = 256 * 1024
"""The largest body, unless the route has a limit of its own."""


class Json(Response):
    """A response serialised by orjson, for content without a response model."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, default=_plain, option=orjson.OPT_UTC_Z)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


class Paging:
    """The requested page of a collection."""

    def __init__(self, limit: int, cursor: str | None) -> None:
        """Request `limit` items after the cursor's."""
        self.limit = limit
        self.cursor = cursor

    @property
    def fetch(self) -> int:
        """The number of rows to read: one more than `limit`, to detect a next page."""
        return self.limit + 1

    def after(self, *kinds: type) -> tuple[Any, ...] | None:
        """Return the cursor's values, one of each of `kinds`; None for the first page.

        Raises a `Problem` for a malformed cursor.
        """
        if self.cursor is None:
            return None
        try:
            padded = self.cursor + "=" * (-len(self.cursor) % 4)
            values = orjson.loads(urlsafe_b64decode(padded))
            if not isinstance(values, list):
                raise ValueError("not a list")  # noqa: TRY004, TRY301 (one answer to all of these)
            pairs = zip(kinds, values, strict=True)
            return tuple(_adapter(kind).validate_python(value) for kind, value in pairs)
        except (ValueError, ValidationError, RecursionError) as error:
            message = "not a cursor of this collection"
            raise invalid(message, at="query.cursor", value=self.cursor) from error

    def page(
        self,
        rows: Sequence[Row],
        ends: Callable[[Row], Sequence[Any]],
        item: Callable[[Row], Any] = lambda row: row,
    ) -> dict[str, Any]:
        """Return the body of a page; `ends` returns the cursor values of a row."""
        page = rows[: self.limit]
        has_more = len(rows) > self.limit
        return {
            "items": [item(row) for row in page],
            "next": cursor_of(*ends(page[-1])) if has_more else None,
        }


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def cursor_of(*values: Any) -> str:
    """Return an opaque cursor of these values."""
    return urlsafe_b64encode(orjson.dumps(values, default=str)).rstrip(b"=").decode()


Limit = Annotated[int, Query(ge=1, le=200, description="The most items to return.")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next` of the previous page.")]


async def paging(limit: Limit = 50, cursor: Cursor = None) -> Paging:
    """Return the requested page, from the query parameters."""
    return Paging(limit, cursor)


Pages = Annotated[Paging, Depends(paging)]
"""The requested page: `pages.after(…)`, `LIMIT pages.fetch`, `return pages.page(rows, ends)`."""


def etag(version: int) -> str:
    """Return the `ETag` of a version."""
    return f'"{version}"'


async def if_match(
    expected: Annotated[
        str | None, Header(alias="If-Match", max_length=50, description="The `ETag` last seen.")
    ] = None,
) -> int | None:
    """Return the version in `If-Match`; None when it is missing or `*`."""
    if expected is None or expected.strip() == "*":
        return None
    bare = expected.strip().removeprefix("W/").strip('"')
    if not (bare.isascii() and bare.isdigit() and len(bare) < 19):
        raise invalid("not a version", at="header.If-Match", value=expected, allowed='"7" or *')
    return int(bare)


IfMatch = Annotated[int | None, Depends(if_match)]
"""The version that a command expects; None for any."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[ -~]+$",
        description="A repeated key has no further effect, and gets the same answer.",
    ),
]
"""The caller's key of a command; used as `key: IdempotencyKey = None`."""


class BodyLimit:
    """Refuses bodies above their route's limit, without reading them to the end."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`, whose `state.body_limits` has the limits by path prefix."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = _limit(scope["app"].state.body_limits, scope["path"])
        if _announced(scope) > limit:
            await _too_large(limit).response()(scope, receive, send)
            return
        read = 0

        async def receive_counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise _too_large(limit)
            return message

        await self.app(scope, receive_counted, send)


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


def _limit(limits: Mapping[str, int], path: str) -> int:
    prefixes = [prefix for prefix in limits if path.startswith(prefix)]
    return limits[max(prefixes, key=len)] if prefixes else MAX_BODY_BYTES


def _too_large(limit: int) -> Problem:
    # Closing the connection spares reading the rest.
    return Problem(
        413,
        "too_large",
        f"the body may have {limit} bytes",
        headers={"Connection": "close"},
        allowed=limit,
    )


def install(app: FastAPI, limits: Mapping[str, int] | None = None) -> None:
    """Limit bodies to `MAX_BODY_BYTES`, or to the limit of the longest prefix of their path."""
    limit_bodies(app, limits or {})
    app.add_middleware(BodyLimit)


def limit_bodies(app: FastAPI, limits: Mapping[str, int]) -> None:
    """Set the body limits, in bytes, by path prefix."""
    app.state.body_limits = dict(limits)
