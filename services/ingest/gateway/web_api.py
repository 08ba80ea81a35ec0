"""Routes for web pages: forms, and the widget with its sessions."""

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
ORIGIN: dict[str, Any] = {
    "name": "Origin",
    "in": "header",
    "required": True,
    "schema": {"type": "string"},
    "description": "Browsers send it: one of the account's declared `origins`.",
}
BEARER: dict[str, Any] = {
    "name": "Authorization",
    "in": "header",
    "schema": {"type": "string"},
    "description": "`Bearer` and the session's token.",
}
UNDECLARED_ORIGIN: dict[str, Any] = {"description": "The account declares no such origin."}


def _receiver(request: Request) -> WebReceiver:
    receiver: WebReceiver = request.app.state.service.state["web_receiver"]
    return receiver


def _body(*media_types: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {name: {"schema": schema} for name in media_types}}


@router.post(
    "/channels/form/{account}",
    status_code=202,
    responses={
        202: ACCEPTED,
        **REFUSALS,
        403: UNDECLARED_ORIGIN,
        415: {"description": "The body is neither JSON nor urlencoded."},
    },
    openapi_extra={
        "parameters": [
            ACCOUNT,
            {
                "name": FORM_TOKEN_HEADER,
                "in": "header",
                "schema": {"type": "string"},
                "description": "The form's token; a page without scripts sends `?token=` instead.",
            },
            {"name": "token", "in": "query", "schema": {"type": "string"}},
        ],
        "requestBody": _body(JSON, URLENCODED, schema=FORM_SCHEMA),
    },
)
async def submit_form(request: Request) -> Response:
    """Receive a form: a new request, unless it names the `conversation` of an earlier one.

    In urlencoded bodies, nested names have a dot: `contact.email`, `fields.order_no`. Invalid
    values are left out; `GET /v1/inbound/{id}` returns the reason.
    """
    return await _receiver(request).submit_form(request)


@router.get(
    "/channels/form/{account}",
    responses={
        200: {
            "description": "The form as JSON Schema (2020-12).",
            "content": {"application/schema+json": {"schema": {"type": "object"}}},
        },
        404: {"description": "There is no such form or topic."},
    },
    openapi_extra={
        "parameters": [
            ACCOUNT,
            {
                "name": "topic",
                "in": "query",
                "schema": {"type": "string"},
                "description": "The topic; without it, the form covers all topics.",
            },
        ]
    },
)
async def describe_form(request: Request) -> Response:
    """Return a form as JSON Schema, with the fields its topic needs at creation."""
    return await _receiver(request).describe_form(request)


@router.post(
    "/channels/widget/{account}/session",
    status_code=201,
    responses={
        201: {
            "description": "A session; its token is valid for 15 minutes.",
            "content": {"application/json": {"schema": SESSION_SCHEMA}},
        },
        401: REFUSALS[401],
        403: UNDECLARED_ORIGIN,
        429: REFUSALS[429],
    },
    openapi_extra={"parameters": [ACCOUNT, ORIGIN, BEARER]},
)
async def widget_session(request: Request) -> Response:
    """Begin a session, or renew the session of the given token.

    A renewed session has the same chat if the token expired at most half an hour ago and the chat
    is less than twelve hours old. A visitor who returns within thirty days keeps the visitor id, in
    a new chat.
    """
    return await _receiver(request).open_session(request)


@router.post(
    "/channels/widget/{account}",
    status_code=202,
    responses={202: ACCEPTED, **REFUSALS, 403: UNDECLARED_ORIGIN},
    openapi_extra={
        "parameters": [ACCOUNT, ORIGIN, {**BEARER, "required": True}],
        "requestBody": _body(JSON, schema=WIDGET_SCHEMA),
    },
)
async def widget_message(request: Request) -> Response:
    """Receive a message of a visitor; a repeated `id` is the same message."""
    return await _receiver(request).submit_message(request)


@router.options("/channels/form/{account}", include_in_schema=False)
@router.options("/channels/widget/{account}", include_in_schema=False)
@router.options("/channels/widget/{account}/session", include_in_schema=False)
async def preflight(request: Request) -> Response:
    """Return the methods and headers a page may use (CORS)."""
    return await _receiver(request).preflight(request)
