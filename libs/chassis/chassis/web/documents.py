"""The documents of a service, which anyone may read: each is built and encoded once.

Building one takes milliseconds of the event loop, which its requests could otherwise use up.
"""

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chassis.messaging.reader import Reader

MEDIA_TYPE = "application/json"
OPENAPI_PATH = "/openapi.json"


class AsyncApiDocument:
    """The encoded AsyncAPI document; it is built again only for other readers."""

    def __init__(self, describe: Callable[[Sequence[Reader]], dict[str, Any]]) -> None:
        self._describe = describe
        self._readers: tuple[Reader, ...] = ()
        self._body: bytes | None = None

    def response(self, readers: Sequence[Reader]) -> Response:
        """Return the document of a service with these readers."""
        same = len(readers) == len(self._readers) and all(map(is_, readers, self._readers))
        if self._body is None or not same:
            self._readers = tuple(readers)
            self._body = encode(self._describe(readers))
        return Response(self._body, media_type=MEDIA_TYPE)


def encode(document: dict[str, Any]) -> bytes:
    """Return a document as JSON, as the framework encodes it."""
    return bytes(JSONResponse(document).body)


def install_openapi(app: FastAPI) -> None:
    """Serve the OpenAPI document; all routes are included before it is first requested."""
    body: bytes | None = None

    async def openapi(_: Request) -> Response:
        nonlocal body
        if body is None:
            body = encode(app.openapi())
        return Response(body, media_type=MEDIA_TYPE)

    app.add_route(OPENAPI_PATH, openapi, include_in_schema=False)
