"""The addresses for pages of the web, as they are documented."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from ingest.gateway.api import ACCEPTED, REFUSALS
from ingest.gateway.receiver import BanCheckedRoute
from ingest.gateway.web import FORM_TOKEN_HEADER, JSON, URLENCODED, WebReceiver
from ingest.gateway.web_forms import FORM_SCHEMA, SESSION_SCHEMA, WIDGET_SCHEMA

router = APIRouter(route_class=BanCheckedRoute, tags=["pages"])

ACCOUNT: dict[str, Any] = {
    "name": "account",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
}
PAGE: dict[str, Any] = {
    "name": "Origin",
    "in": "header",
    "required": True,
    "schema": {"type": "string"},
    "description": "Browsers say it themselves: one of the account's declared `origins`.",
}
BEARER: dict[str, Any] = {
    "name": "Authorization",
    "in": "header",
    "schema": {"type": "string"},
    "description": "`Bearer` and the session's token.",
}
FOREIGN: dict[str, Any] = {"description": "The account declares no such origin."}


def _at(request: Request) -> WebReceiver:
    found: WebReceiver = request.app.state.service.state["pages"]
    return found


def _body(*media: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {each: {"schema": schema} for each in media}}


@router.post(
    "/channels/form/{account}",
    status_code=202,
    responses={
        202: ACCEPTED,
        **REFUSALS,
        403: FOREIGN,
        415: {"description": "It is neither JSON nor urlencoded."},
    },
    openapi_extra={
        "parameters": [
            ACCOUNT,
            {
                "name": FORM_TOKEN_HEADER,
                "in": "header",
                "schema": {"type": "string"},
                "description": "The form's token; a page without scripts says `?token=` instead.",
            },
            {"name": "token", "in": "query", "schema": {"type": "string"}},
        ],
        "requestBody": _body(JSON, URLENCODED, schema=FORM_SCHEMA),
    },
)
async def submit_form(request: Request) -> Response:
    """Take a form: a request of its own, unless it names the `conversation` of an earlier one.

    Urlencoded, names within others have a dot: `contact.email`, `fields.order_no`. What cannot be
    used is left out, and `GET /v1/inbound/{id}` says why; nothing is sent back for it.
    """
    return await _at(request).form(request)


@router.get(
    "/channels/form/{account}",
    responses={
        200: {
            "description": "The form as JSON Schema (2020-12).",
            "content": {"application/schema+json": {"schema": {"type": "object"}}},
        },
        404: {"description": "There is no such form, or no such topic."},
    },
    openapi_extra={
        "parameters": [
            ACCOUNT,
            {
                "name": "topic",
                "in": "query",
                "schema": {"type": "string"},
                "description": "The form of one topic; of all, if it is left out.",
            },
        ]
    },
)
async def describe_form(request: Request) -> Response:
    """Describe a form as JSON Schema, made of the fields its topic asks for at creation."""
    return await _at(request).described(request)


@router.post(
    "/channels/widget/{account}/session",
    status_code=201,
    responses={
        201: {
            "description": "A session; its token opens the widget's door for 15 minutes.",
            "content": {"application/json": {"schema": SESSION_SCHEMA}},
        },
        401: REFUSALS[401],
        403: FOREIGN,
        429: REFUSALS[429],
    },
    openapi_extra={"parameters": [ACCOUNT, PAGE, BEARER]},
)
async def widget_session(request: Request) -> Response:
    """Begin a session, or go on with the one whose token is shown.

    The chat goes on while the token is renewed, at most half an hour after it has expired and for
    twelve hours in all; a visitor who comes back within thirty days is the same, in another chat.
    """
    return await _at(request).session(request)


@router.post(
    "/channels/widget/{account}",
    status_code=202,
    responses={202: ACCEPTED, **REFUSALS, 403: FOREIGN},
    openapi_extra={
        "parameters": [ACCOUNT, PAGE, {**BEARER, "required": True}],
        "requestBody": _body(JSON, schema=WIDGET_SCHEMA),
    },
)
async def widget_message(request: Request) -> Response:
    """Take a message of a visitor; the same `id` again is the same message."""
    return await _at(request).message(request)


@router.options("/channels/form/{account}", include_in_schema=False)
@router.options("/channels/widget/{account}", include_in_schema=False)
@router.options("/channels/widget/{account}/session", include_in_schema=False)
async def preflight(request: Request) -> Response:
    """Tell a browser what a page may send."""
    return await _at(request).preflight(request)
