"""The doors for pages of the web: forms, and the widget with its sessions.

What a page shows, everybody can read. A form's token therefore keeps out only who has not seen the
page; how much one visitor may send does the rest, and a field people do not see. A widget's session
is given to the pages of declared origins alone, and lives for minutes. Long: both doors have the
same rules of origin, session and rate.
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
"""Seconds' worth of deliveries a visitor may send at once."""
PREFLIGHT_MAX_AGE_S = "600"
"""Seconds a browser remembers what it may send here."""

PageHandler = Callable[[Request, str, list[str]], Awaitable[Response]]


class WebReceiver:
    """Lets in what pages of the web send."""

    def __init__(self, service: Service, accounts: IngestConfiguration, door: Receiver) -> None:
        self._service = service
        self._accounts = accounts
        self._door = door
        self._visitors = RateLimit(asyncio.get_running_loop().time)

    async def form(self, request: Request) -> Response:
        """Take a form."""
        return await self._answer(request, FORM, self._form)

    async def described(self, request: Request) -> Response:
        """Describe a form: everybody who sees the page knows as much."""
        return await self._answer(request, FORM, self._described)

    async def session(self, request: Request) -> Response:
        """Give a visitor of a declared page a session, or go on with theirs."""
        return await self._answer(request, WIDGET, self._session)

    async def message(self, request: Request) -> Response:
        """Take a message of the widget."""
        return await self._answer(request, WIDGET, self._message)

    async def preflight(self, request: Request) -> Response:
        """Tell a browser what a page of its origin may send here (Fetch standard, CORS)."""
        channel = WIDGET if request.url.path.startswith(f"/channels/{WIDGET}/") else FORM
        headers = self._cors(request, channel)
        if "Access-Control-Allow-Origin" in headers:
            headers["Access-Control-Allow-Methods"] = "GET, POST"
            headers["Access-Control-Allow-Headers"] = (
                f"Authorization, Content-Type, {FORM_TOKEN_HEADER}"
            )
            headers["Access-Control-Max-Age"] = PREFLIGHT_MAX_AGE_S
        return Response(status_code=204, headers=headers)

    async def _answer(self, request: Request, channel: str, take: PageHandler) -> Response:
        """Answer so that a declared page may read it, whatever it is."""
        account = request.path_params["account"]
        try:
            response = await take(request, account, self._accounts.secrets(channel, account))
        except Problem as why:
            response = why.response()
        response.headers.update(self._cors(request, channel))
        return response

    def _cors(self, request: Request, channel: str) -> dict[str, str]:
        origin = origin_of(request)
        declared = self._accounts.allowed_origins(channel, request.path_params["account"])
        allowed = {"Access-Control-Allow-Origin": origin} if origin in declared else {}
        return {"Vary": "Origin", **allowed}

    async def _form(self, request: Request, account: str, tokens: list[str]) -> Response:
        shown = [
            *request.headers.getlist(FORM_TOKEN_HEADER),
            *request.query_params.getlist("token"),
        ]
        offered = shown[0].encode() if len(shown) == 1 else b""
        same = [hmac.compare_digest(offered, token.encode()) for token in tokens]
        if not offered or not any(same):
            raise unauthorized("the form's token is missing, or it is not this form's", error=None)
        self._check_origin(request, FORM, account, needed=False)
        self._check_rates(request, FORM, account)
        kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if kind not in {JSON, URLENCODED}:
            raise Problem(415, "unsupported_media_type", f"send {JSON} or {URLENCODED}")
        raw = self._door.raw(FORM, account, await request.body())
        return await self._door.accept(request, raw, 202)

    async def _described(self, request: Request, account: str, tokens: list[str]) -> Response:
        if not tokens:
            raise missing("form", account)
        topic = request.query_params.get("topic")
        rules = self._accounts.rules()
        if topic is not None and topic not in rules.topics:
            raise missing("topic", topic)
        described = orjson.dumps(form_schema(rules, topic))
        headers = {"Cache-Control": "public, max-age=60"}
        return Response(described, headers=headers, media_type="application/schema+json")

    async def _session(self, request: Request, account: str, secrets: list[str]) -> Response:
        if not secrets:
            raise unauthorized("there is no such widget", error=None)
        origin = self._check_origin(request, WIDGET, account, needed=True)
        self._check_rates(request, WIDGET, account)
        now = self._service.clock()
        chat = str(uuid4())
        if request.headers.get("authorization") is None:
            session = web_sessions.new_session(account, origin, str(uuid4()), chat, now)
        else:
            session = self._shown(request, account, secrets, origin).renewed(now, chat)
        said = {
            "token": web_sessions.sign(session, secrets[0]),
            "visitor": session.visitor,
            "chat": session.chat,
            "expires_at": session.expires,
        }
        headers = {"Cache-Control": "no-store"}
        body = orjson.dumps(said, option=orjson.OPT_UTC_Z)
        return Response(body, 201, headers=headers, media_type=JSON)

    async def _message(self, request: Request, account: str, secrets: list[str]) -> Response:
        origin = origin_of(request)
        session = self._shown(request, account, secrets, origin)
        now: datetime = self._service.clock()
        if not session.live(now):
            raise unauthorized("the session token has expired: ask for the next one")
        self._check_origin(request, WIDGET, account, needed=True)
        self._check_rates(request, WIDGET, account)
        bare = self._door.raw(WIDGET, account, await request.body())
        raw = replace(bare, sender=Person(session.visitor), conversation=session.chat)
        return await self._door.accept(request, raw, 202)

    def _shown(self, request: Request, account: str, secrets: list[str], origin: str) -> Session:
        scheme, token = credentials(request)
        if scheme != "bearer" or not token:
            raise unauthorized("a session token is needed", error=None)
        try:
            return web_sessions.read(token, secrets, account, origin, self._service.clock())
        except InvalidSession as why:
            raise unauthorized(str(why)) from None

    def _check_origin(self, request: Request, channel: str, account: str, *, needed: bool) -> str:
        """Refuse pages of origins the account does not declare; programs have none."""
        origin = origin_of(request)
        declared = self._accounts.allowed_origins(channel, account)
        if (declared or needed) and (origin or needed) and origin not in declared:
            raise Problem(403, "origin_not_declared", "the account declares no such origin")
        return origin

    def _check_rates(self, request: Request, channel: str, account: str) -> None:
        """Refuse more than the workspace allows one visitor, and one account."""
        rate = self._accounts.visitor_rate
        visitor = (channel, account, network_of(request))
        wait = self._visitors.wait(visitor, rate, burst=rate * VISITOR_BURST_S)
        if wait:
            detail = f"one visitor may send {rate:g} deliveries a second"
            headers = {"Retry-After": str(math.ceil(wait))}
            raise Problem(429, "too_many_requests", detail, headers=headers)
        self._door.check_rate(channel, account)


def origin_of(request: Request) -> str:
    """Give the origin of the page that asks, when exactly one is told."""
    told = request.headers.getlist("origin")
    return told[0] if len(told) == 1 else ""


def network_of(request: Request) -> str:
    """Give where a visitor comes from: of IPv6 the /64, which one household has whole."""
    host = request.client.host if request.client else ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    address = getattr(address, "ipv4_mapped", None) or address
    return str(address) if address.version == 4 else str(ip_network((address, 64), strict=False))
