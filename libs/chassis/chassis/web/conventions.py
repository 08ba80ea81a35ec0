"""What the services' addresses have in common: pages, versions, keys, and limits to bodies.

Long, as it gathers what every address shares.
"""

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
"""Bytes a body may have unless its address says otherwise."""


class Json(Response):
    """An answer written by orjson, for what needs no model; it knows ids, times and models."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, default=_plain, option=orjson.OPT_UTC_Z)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


class Paging:
    """Which part of a collection is wanted."""

    def __init__(self, limit: int, cursor: str | None) -> None:
        """Want `limit` items after the one the cursor tells of."""
        self.limit = limit
        self.cursor = cursor

    @property
    def fetch(self) -> int:
        """How many rows to read: one more than wanted, to know whether there are more."""
        return self.limit + 1

    def after(self, *kinds: type) -> tuple[Any, ...] | None:
        """Give what the page before ended with, one value of each kind; none for the first page."""
        if self.cursor is None:
            return None
        try:
            padded = self.cursor + "=" * (-len(self.cursor) % 4)
            values = orjson.loads(urlsafe_b64decode(padded))
            if not isinstance(values, list):
                raise ValueError("not a list")  # noqa: TRY004, TRY301 - one answer to all of these
            pairs = zip(kinds, values, strict=True)
            return tuple(_adapter(kind).validate_python(value) for kind, value in pairs)
        except (ValueError, ValidationError, RecursionError) as error:
            message = "not a cursor that was given here"
            raise invalid(message, at="query.cursor", value=self.cursor) from error

    def page(
        self,
        rows: Sequence[Row],
        ends: Callable[[Row], Sequence[Any]],
        item: Callable[[Row], Any] = lambda row: row,
    ) -> dict[str, Any]:
        """Make the collection's body of the rows read; `ends` gives what `after` will ask for."""
        kept = rows[: self.limit]
        more = len(rows) > self.limit
        return {
            "items": [item(row) for row in kept],
            "next": cursor_of(*ends(kept[-1])) if more else None,
        }


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def cursor_of(*values: Any) -> str:
    """Write where a page ends, so that only we need to understand it."""
    return urlsafe_b64encode(orjson.dumps(values, default=str)).rstrip(b"=").decode()


Limit = Annotated[int, Query(ge=1, le=200, description="How many items at most.")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next` of the page before.")]


async def paging(limit: Limit = 50, cursor: Cursor = None) -> Paging:
    """Read which part of a collection is wanted."""
    return Paging(limit, cursor)


Pages = Annotated[Paging, Depends(paging)]
"""Which part is wanted: `pages.after(…)`, `LIMIT pages.fetch`, `return pages.page(rows, ends)`."""


def etag(version: int) -> str:
    """Write a version as the `ETag` it is."""
    return f'"{version}"'


async def if_match(
    expected: Annotated[
        str | None, Header(alias="If-Match", max_length=50, description="The `ETag` last seen.")
    ] = None,
) -> int | None:
    """Read the version the caller has seen; none when they do not care, or say `*`."""
    if expected is None or expected.strip() == "*":
        return None
    bare = expected.strip().removeprefix("W/").strip('"')
    if not (bare.isascii() and bare.isdigit() and len(bare) < 19):
        raise invalid("not a version", at="header.If-Match", value=expected, allowed='"7" or *')
    return int(bare)


IfMatch = Annotated[int | None, Depends(if_match)]
"""The version a command is meant for."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[ -~]+$",
        description="The same key again has the same effect: none, and the same answer.",
    ),
]
"""The caller's own name for a command; used as `key: IdempotencyKey = None`."""


class BodyLimit:
    """Refuses bodies longer than their address allows, without reading them to the end."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before `app`, whose `state.body_limits` says what is allowed where."""
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

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise _too_large(limit)
            return message

        await self.app(scope, counted, send)


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


def _limit(limits: Mapping[str, int], path: str) -> int:
    fitting = [prefix for prefix in limits if path.startswith(prefix)]
    return limits[max(fitting, key=len)] if fitting else MAX_BODY_BYTES


def _too_large(limit: int) -> Problem:
    # The connection ends here, so that nobody has to read the rest.
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
    """Say how many bytes a body may have below each of these paths."""
    app.state.body_limits = dict(limits)
