"""Receive forms and messages of the widget from web pages.

Everybody can read the credentials of a page. So a form's token only refuses senders that have not
seen the page; the rate limit per visitor and a hidden field refuse most of the rest. A widget's
session is issued to pages of declared origins only, and expires within minutes.
"""

import asyncio
import hmac
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from ipaddress import ip_address, ip_network
from uuid import uuid4

import orjson
from starlette.requests import Request
from starlette.responses import Response

from chassis.auth.dependencies import credentials, unauthorized
from chassis.service import Service
from chassis.web.problems import Problem, missing
from ingest.configuration import IngestConfiguration
from ingest.domain.items import Person
from ingest.gateway import web_sessions
from ingest.gateway.rate_limit import RateLimit
from ingest.gateway.receiver import Receiver
from ingest.gateway.web_forms import form_schema
from ingest.gateway.web_sessions import InvalidSession, Session

FORM, WIDGET = "form", "widget"
FORM_TOKEN_HEADER = "X-Form-Token"  # noqa: S105 (a header's name)
JSON, URLENCODED = "application/json", "application/x-www-form-urlencoded"
VISITOR_BURST_S = 10.0
"""A visitor may send the deliveries of so many seconds at once."""
PREFLIGHT_MAX_AGE_S = "600"

PageHandler = Callable[[Request, str, list[str]], Awaitable[Response]]
"""Handles a request, given the account and its secrets."""


class WebReceiver:
    """Receives deliveries of web pages, and adds the headers browsers need (CORS)."""

    def __init__(self, service: Service, accounts: IngestConfiguration, receiver: Receiver) -> None:
        self._service = service
        self._accounts = accounts
        self._receiver = receiver
        self._visitor_limit = RateLimit(asyncio.get_running_loop().time)

    async def submit_form(self, request: Request) -> Response:
        """Receive a form."""
        return await self._respond(request, FORM, self._submit_form)

    async def describe_form(self, request: Request) -> Response:
        """Return a form's JSON Schema; it needs no token, as the page shows the same."""
        return await self._respond(request, FORM, self._describe_form)

    async def open_session(self, request: Request) -> Response:
        """Return a new session for a visitor of a declared page, or renew the given one."""
        return await self._respond(request, WIDGET, self._open_session)

    async def submit_message(self, request: Request) -> Response:
        """Receive a message of the widget."""
        return await self._respond(request, WIDGET, self._submit_message)

    async def preflight(self, request: Request) -> Response:
        """Return what a page of the request's origin may send (Fetch standard, CORS)."""
        channel = WIDGET if request.url.path.startswith(f"/channels/{WIDGET}/") else FORM
        headers = self._cors_headers(request, channel)
        if "Access-Control-Allow-Origin" in headers:
            headers["Access-Control-Allow-Methods"] = "GET, POST"
            allowed = f"Authorization, Content-Type, {FORM_TOKEN_HEADER}"
            headers["Access-Control-Allow-Headers"] = allowed
            headers["Access-Control-Max-Age"] = PREFLIGHT_MAX_AGE_S
        return Response(status_code=204, headers=headers)

    async def _respond(self, request: Request, channel: str, handler: PageHandler) -> Response:
        """Return the handler's response, or its problem, so that a declared page may read it."""
        account = request.path_params["account"]
        try:
            response = await handler(request, account, self._accounts.secrets(channel, account))
        except Problem as why:
            response = why.response()
        response.headers.update(self._cors_headers(request, channel))
        return response

    def _cors_headers(self, request: Request, channel: str) -> dict[str, str]:
        origin = origin_of(request)
        declared = self._accounts.allowed_origins(channel, request.path_params["account"])
        allowed = {"Access-Control-Allow-Origin": origin} if origin in declared else {}
        return {"Vary": "Origin", **allowed}

    async def _submit_form(self, request: Request, account: str, tokens: list[str]) -> Response:
        values = [
            *request.headers.getlist(FORM_TOKEN_HEADER),
            *request.query_params.getlist("token"),
        ]
        offered = values[0].encode() if len(values) == 1 else b""
        matches = [hmac.compare_digest(offered, token.encode()) for token in tokens]
        if not offered or not any(matches):
            raise unauthorized("the form's token is missing, or it is not this form's", error=None)
        self._check_origin(request, FORM, account, is_required=False)
        self._check_rates(request, FORM, account)
        media_type = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if media_type not in {JSON, URLENCODED}:
            raise Problem(415, "unsupported_media_type", f"send {JSON} or {URLENCODED}")
        raw = self._receiver.new_delivery(FORM, account, await request.body())
        return await self._receiver.store_and_respond(request, raw, 202)

    async def _describe_form(self, request: Request, account: str, tokens: list[str]) -> Response:
        if not tokens:
            raise missing("form", account)
        topic = request.query_params.get("topic")
        rules = self._accounts.rules()
        if topic is not None and topic not in rules.topics:
            raise missing("topic", topic)
        schema = orjson.dumps(form_schema(rules, topic))
        headers = {"Cache-Control": "public, max-age=60"}
        return Response(schema, headers=headers, media_type="application/schema+json")

    async def _open_session(self, request: Request, account: str, secrets: list[str]) -> Response:
        if not secrets:
            raise unauthorized("there is no such widget", error=None)
        origin = self._check_origin(request, WIDGET, account, is_required=True)
        self._check_rates(request, WIDGET, account)
        now = self._service.clock()
        new_chat = str(uuid4())
        if request.headers.get("authorization") is None:
            session = web_sessions.new_session(account, origin, str(uuid4()), new_chat, now)
        else:
            session = self._session(request, account, secrets, origin).renew(now, new_chat)
        document = {
            "token": web_sessions.sign(session, secrets[0]),
            "visitor": session.visitor,
            "chat": session.chat,
            "expires_at": session.expires,
        }
        headers = {"Cache-Control": "no-store"}
        body = orjson.dumps(document, option=orjson.OPT_UTC_Z)
        return Response(body, 201, headers=headers, media_type=JSON)

    async def _submit_message(self, request: Request, account: str, secrets: list[str]) -> Response:
        origin = origin_of(request)
        session = self._session(request, account, secrets, origin)
        now: datetime = self._service.clock()
        if not session.is_live(now):
            raise unauthorized("the session token has expired; request the next one")
        self._check_origin(request, WIDGET, account, is_required=True)
        self._check_rates(request, WIDGET, account)
        raw = self._receiver.new_delivery(WIDGET, account, await request.body())
        raw = replace(raw, sender=Person(session.visitor), conversation=session.chat)
        return await self._receiver.store_and_respond(request, raw, 202)

    def _session(self, request: Request, account: str, secrets: list[str], origin: str) -> Session:
        """Return the session of the request's token, expired or not."""
        scheme, token = credentials(request)
        if scheme != "bearer" or not token:
            raise unauthorized("a session token is needed", error=None)
        try:
            return web_sessions.read(token, secrets, account, origin, self._service.clock())
        except InvalidSession as why:
            raise unauthorized(str(why)) from None

    def _check_origin(
        self, request: Request, channel: str, account: str, *, is_required: bool
    ) -> str:
        """Return the request's origin; raises a `Problem` if the account does not declare it.

        Programs send no origin; they are refused only where one is required.
        """
        origin = origin_of(request)
        declared = self._accounts.allowed_origins(channel, account)
        if (declared or is_required) and (origin or is_required) and origin not in declared:
            raise Problem(403, "origin_not_declared", "the account declares no such origin")
        return origin

    def _check_rates(self, request: Request, channel: str, account: str) -> None:
        """Raise a `Problem` (429) if a visitor or an account exceeds the workspace's rates."""
        rate = self._accounts.visitor_rate
        visitor = (channel, account, network_of(request))
        wait_s = self._visitor_limit.acquire(visitor, rate, burst=rate * VISITOR_BURST_S)
        if wait_s:
            detail = f"one visitor may send {rate:g} deliveries a second"
            headers = {"Retry-After": str(math.ceil(wait_s))}
            raise Problem(429, "too_many_requests", detail, headers=headers)
        self._receiver.check_rate(channel, account)


def origin_of(request: Request) -> str:
    """Return the page's origin if the request has exactly one, else an empty string."""
    values = request.headers.getlist("origin")
    return values[0] if len(values) == 1 else ""


def network_of(request: Request) -> str:
    """Return the visitor's IPv4 address or IPv6 network (/64, as a household has a whole one)."""
    host = request.client.host if request.client else ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    address = getattr(address, "ipv4_mapped", None) or address
    return str(address) if address.version == 4 else str(ip_network((address, 64), strict=False))
