"""The door: authenticate on the raw bytes, store, answer. Nothing here touches PostgreSQL.

A delivery costs little more than its publication: see `chassis.web.fast_route`. One file, though
long: what is asked of whoever delivers stands in one place.
"""

import asyncio
import hmac
import math
from dataclasses import replace
from datetime import datetime

from pydantic import ValidationError
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from chassis.auth.claims import DEVICES
from chassis.auth.dependencies import Auth, Identity, Role, credentials, unauthorized
from chassis.auth.standard_webhooks import Unverified
from chassis.errors import NotReady
from chassis.observability import tracing
from chassis.service import Service
from chassis.web.fast_route import FastRoute
from chassis.web.http_protocol import sender_known
from chassis.web.problems import Problem, invalid, of_validation, unavailable
from ingest import envelope
from ingest.audit.marks import Marks
from ingest.bans.store import BanCache
from ingest.channels.http_api.parser import DeviceSubmission, Submission
from ingest.configuration import IngestConfiguration
from ingest.domain.items import RawDelivery
from ingest.domain.text import clean
from ingest.gateway.devices import PACE, check_contact, device_of
from ingest.gateway.endpoints import Scheme
from ingest.gateway.inbound_ids import Mint
from ingest.gateway.publisher import Publisher
from ingest.gateway.rate_limit import Limits
from ingest.gateway.signatures import Shown

MAY_OPEN = (Role.INTEGRATOR, Role.OPERATOR, Role.SUPERVISOR, Role.ADMINISTRATOR)


class Guarded(FastRoute):
    """A route of the door: it is shut to banned networks."""

    async def answer(self, request: Request) -> Response:
        """Refuse whatever comes from a banned network, before anything of it is looked at."""
        shut_out(request)
        return await super().answer(request)


def shut_out(request: Request) -> None:
    """Raise a `Problem` when the request comes from a banned network."""
    known: BanCache = request.app.state.service.state["bans"]
    if known.current.networks and known.blocks_host(request.client and request.client.host):
        raise Problem(403, "banned", "nothing is taken from this address")


class Door:
    """Lets deliveries in, and tells each its number."""

    def __init__(self, service: Service, mint: Mint, accounts: IngestConfiguration) -> None:
        loop = asyncio.get_running_loop()
        self.mint = mint
        self._service = service
        self._accounts = accounts
        self.marks = Marks(service.clock)
        self._publisher = Publisher(lambda: service.bus.nc, self.marks)
        self._limits = Limits(loop.time)

    def shut(self) -> str | None:
        """Say why nothing can be taken in; nothing of it is PostgreSQL's."""
        if not self._service.workspaces.latest:
            return "no workspace has been applied yet"
        return None if self._service.bus.nc.is_connected else "nats is not connected"

    async def take(self, scheme: Scheme, request: Request) -> Response:
        """Take what a platform or a program delivers, by the rules of its channel."""
        account = request.path_params[scheme.parameter]
        secrets = self._accounts.secrets(scheme.channel, account, scheme.key)
        if not secrets:
            raise unauthorized("there is no such account, or it has no secret", error=None)
        body = b""
        headers, asked = request.scope["headers"], request.scope["query_string"]
        try:
            if scheme.check_form is not None:
                scheme.check_form(Shown(headers, b"", self._service.clock().timestamp()))
                body = await request.body()
            now = self._service.clock().timestamp()
            scheme.verify(Shown(headers, body, now, asked), secrets)
        except Unverified as why:
            raise unauthorized(str(why), error=None) from None
        sender_known(request.scope)
        self.check_rate(scheme.channel, account)
        body = body if scheme.signed else await request.body()
        if scheme.check is not None:
            scheme.check(body)
        raw = self.raw(scheme.channel, account, body)
        raw = replace(raw, form=scheme.operation) if scheme.operation else raw
        return await self.accept(request, raw, scheme.status)

    async def shake(self, scheme: Scheme, request: Request) -> Response:
        """Answer Meta's question whether an address is ours: only to whom knows our token."""
        asked = request.query_params
        tokens = self._accounts.secrets(
            scheme.channel, request.path_params["account"], "verify_token"
        )
        offered = one(asked, "hub.verify_token").encode()
        same = [hmac.compare_digest(offered, token.encode()) for token in tokens]
        challenge = one(asked, "hub.challenge")
        if not any(same) or one(asked, "hub.mode") != "subscribe" or not challenge:
            raise Problem(403, "forbidden", "hub.mode, hub.verify_token or hub.challenge is wrong")
        return PlainTextResponse(challenge, headers={"X-Content-Type-Options": "nosniff"})

    async def submit(self, request: Request) -> Response:
        """Take a submission from a program or a device; wrong wishes are told at once."""
        scheme, token = credentials(request)
        if scheme == DEVICES.scheme.lower():
            return await self._submit_from_device(request, token)
        who = await self._who(request)
        sender_known(request.scope)
        account = clean(who.subject)
        self.check_rate("api", account)
        key = idempotency_key(request)
        body = await request.body()
        self._check_submission(Submission, body)
        raw = self.raw("api", account, body, key)
        return await self.accept(request, raw, 202, principal=account)

    async def _submit_from_device(self, request: Request, token: str) -> Response:
        """Take what a customer writes in the company's own app."""
        device = await device_of(request, token, self._service.clock().timestamp())
        sender_known(request.scope)
        self.check_rate("api", device.account, device.person.address)
        self.check_rate("api", device.account)
        key = device.key(idempotency_key(request))
        body = await request.body()
        check_contact(self._check_submission(DeviceSubmission, body).contact, device.person)
        raw = self.raw("api", device.account, body, key)
        raw = replace(raw, sender=device.person)
        return await self.accept(request, raw, 202, principal=device.account)

    def raw(self, channel: str, account: str, body: bytes, key: str | None = None) -> RawDelivery:
        """Give a delivery its number and its time."""
        now: datetime = self._service.clock()
        return RawDelivery(channel, account, self.mint.issue(), body, now, idempotency_key=key)

    async def accept(
        self, request: Request, raw: RawDelivery, status: int, principal: str = ""
    ) -> Response:
        """Store what came over HTTP, and answer."""
        content_type = request.headers.get("content-type", "")[:100]
        said = await self.store(raw, content_type=content_type, principal=principal)
        return Response(said, status, media_type="application/json")

    async def store(
        self, raw: RawDelivery, *, content_type: str = "", principal: str = ""
    ) -> bytes:
        """Store a delivery; gives what its sender is told."""
        letter = envelope.write(
            raw,
            content_type=content_type,
            principal=principal,
            traceparent=tracing.traceparent(),
        )
        try:
            await self._publisher.publish(letter)
        except NotReady as why:
            raise unavailable(f"{why}; send it again") from None
        return b'{"inbound_id":"%b"}' % raw.inbound_id.encode()

    def check_rate(self, channel: str, account: str, contact: str | None = None) -> None:
        """Refuse more than the workspace allows one account, or than one contact can mean."""
        whose, most = (channel, account), self._accounts.account_rate
        if contact is not None:
            whose, most = (channel, f"{account} {contact}"), min(most, PACE)
        wait = self._limits.wait(whose, most)
        if wait:
            headers = {"Retry-After": str(math.ceil(wait))}
            detail = f"this {'contact' if contact else 'account'} may send {most:g} a second"
            raise Problem(429, "too_many_requests", detail, headers=headers)

    async def _who(self, request: Request) -> Identity:
        scheme, token = credentials(request)
        if scheme != "bearer" or not token:
            raise unauthorized("a bearer token is needed", error=None)
        auth: Auth = request.app.state.auth
        who = await auth.identify(token)
        who.require(*MAY_OPEN)
        return who

    def _check_submission(self, form: type[Submission], body: bytes) -> Submission:
        try:
            said = form.model_validate_json(body)
        except ValidationError as bad:
            raise of_validation(bad.errors(include_url=False)) from None
        whole = said.conversation is None  # else it may be a further message, which asks nothing
        for where, value, wrong in self._accounts.rules().violations(
            said.attributes(), whole=whole
        ):
            raise invalid(f"{where} {wrong}", at=where, value=value)
        return said


def one(asked: QueryParams, name: str) -> str:
    """Give a parameter that is there exactly once, else nothing."""
    found = asked.getlist(name)
    return found[0] if len(found) == 1 else ""


def idempotency_key(request: Request) -> str | None:
    """Give the key under which a submission may be repeated."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= 255 or not key.isascii() or not key.isprintable():
        rule = "must be 1 to 255 printable ASCII characters"
        raise invalid(f"Idempotency-Key {rule}", at="header.Idempotency-Key", value=key)
    return key
