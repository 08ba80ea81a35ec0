"""Receive deliveries over HTTP: authenticate the raw bytes, store them in INBOUND, respond.

Nothing here uses PostgreSQL. A delivery costs little more than its publication; see
`chassis.web.fast_route`. Afterwards `intake/handlers.py` reads it from INBOUND, the parser in
`channels/` returns its items, and `domain/message_intake.py` decides their outcomes.
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
from ingest.gateway.devices import CONTACT_RATE_PER_S, authenticate_device, check_contact
from ingest.gateway.endpoints import InboundEndpoint
from ingest.gateway.inbound_ids import InboundIdIssuer
from ingest.gateway.publisher import Publisher
from ingest.gateway.rate_limit import RateLimit
from ingest.gateway.signatures import Credentials

SUBMITTER_ROLES = (Role.INTEGRATOR, Role.OPERATOR, Role.SUPERVISOR, Role.ADMINISTRATOR)


class BanCheckedRoute(FastRoute):
    """A route of the gateway; it refuses banned networks."""

    async def answer(self, request: Request) -> Response:
        """Refuse a banned network before anything else of the request is read."""
        refuse_banned_network(request)
        return await super().answer(request)


def refuse_banned_network(request: Request) -> None:
    """Raise a `Problem` if the request comes from a banned network."""
    bans: BanCache = request.app.state.service.state["bans"]
    if bans.current.networks and bans.blocks_host(request.client and request.client.host):
        raise Problem(403, "banned", "deliveries from this address are refused")


class Receiver:
    """Authenticates deliveries, issues their inbound ids and stores them in INBOUND."""

    def __init__(
        self, service: Service, inbound_ids: InboundIdIssuer, accounts: IngestConfiguration
    ) -> None:
        loop = asyncio.get_running_loop()
        self.inbound_ids = inbound_ids
        self._service = service
        self._accounts = accounts
        self.marks = Marks(service.clock)
        self._publisher = Publisher(lambda: service.bus.nc, self.marks)
        self._rate_limit = RateLimit(loop.time)

    def closed_reason(self) -> str | None:
        """Return why deliveries cannot be stored, or None; PostgreSQL is never the reason."""
        if not self._service.workspaces.latest:
            return "no workspace has been applied yet"
        return None if self._service.bus.nc.is_connected else "nats is not connected"

    async def receive(self, endpoint: InboundEndpoint, request: Request) -> Response:
        """Receive a delivery of a platform or an integrator by its endpoint's rules.

        Raises a `Problem`: 401 for wrong credentials, 422 for a body the endpoint's `check_body`
        refuses, 429 above the account's rate, 503 if the delivery could not be stored.
        """
        account = request.path_params[endpoint.account_parameter]
        secrets = self._accounts.secrets(endpoint.channel, account, endpoint.account_field)
        if not secrets:
            raise unauthorized("there is no such account, or it has no secret", error=None)
        body = b""
        headers, query = request.scope["headers"], request.scope["query_string"]
        try:
            if endpoint.check_form is not None:
                endpoint.check_form(Credentials(headers, b"", self._service.clock().timestamp()))
                body = await request.body()
            now = self._service.clock().timestamp()
            endpoint.verify(Credentials(headers, body, now, query), secrets)
        except Unverified as why:
            raise unauthorized(str(why), error=None) from None
        sender_known(request.scope)
        self.check_rate(endpoint.channel, account)
        body = body if endpoint.signs_body else await request.body()
        if endpoint.check_body is not None:
            endpoint.check_body(body)
        raw = self.new_delivery(endpoint.channel, account, body)
        raw = replace(raw, form=endpoint.format) if endpoint.format else raw
        return await self.store_and_respond(request, raw, endpoint.status)

    async def verify_subscription(self, endpoint: InboundEndpoint, request: Request) -> Response:
        """Return Meta's challenge if the request contains the account's verify token.

        https://developers.facebook.com/docs/graph-api/webhooks/getting-started#verification-requests
        """
        query = request.query_params
        tokens = self._accounts.secrets(
            endpoint.channel, request.path_params["account"], "verify_token"
        )
        offered = single_parameter(query, "hub.verify_token").encode()
        # Every token is compared, so that the time taken does not tell which one matched.
        matches = [hmac.compare_digest(offered, token.encode()) for token in tokens]
        challenge = single_parameter(query, "hub.challenge")
        is_subscription = single_parameter(query, "hub.mode") == "subscribe"
        if not any(matches) or not is_subscription or not challenge:
            raise Problem(403, "forbidden", "hub.mode, hub.verify_token or hub.challenge is wrong")
        return PlainTextResponse(challenge, headers={"X-Content-Type-Options": "nosniff"})

    async def submit(self, request: Request) -> Response:
        """Receive a submission of a program, a person or a customer's device.

        Raises a `Problem`, 422 among others, if a value is not allowed: the caller can correct it.
        """
        scheme, token = credentials(request)
        if scheme == DEVICES.scheme.lower():
            return await self._submit_from_device(request, token)
        caller = await self._identify(request)
        sender_known(request.scope)
        account = clean(caller.subject)
        self.check_rate("api", account)
        key = idempotency_key(request)
        body = await request.body()
        self._check_submission(Submission, body)
        raw = self.new_delivery("api", account, body, key)
        return await self.store_and_respond(request, raw, 202, principal=account)

    async def _submit_from_device(self, request: Request, token: str) -> Response:
        """Receive a submission of a customer's device, from the company's own app."""
        device = await authenticate_device(request, token, self._service.clock().timestamp())
        sender_known(request.scope)
        self.check_rate("api", device.account, device.person.address)
        self.check_rate("api", device.account)
        key = device.idempotency_key(idempotency_key(request))
        body = await request.body()
        check_contact(self._check_submission(DeviceSubmission, body).contact, device.person)
        raw = self.new_delivery("api", device.account, body, key)
        raw = replace(raw, sender=device.person)
        return await self.store_and_respond(request, raw, 202, principal=device.account)

    def new_delivery(
        self, channel: str, account: str, body: bytes, key: str | None = None
    ) -> RawDelivery:
        """Return a delivery received now, with a new inbound id; `key` is its idempotency key."""
        now: datetime = self._service.clock()
        id = self.inbound_ids.issue()
        return RawDelivery(channel, account, id, body, now, idempotency_key=key)

    async def store_and_respond(
        self, request: Request, raw: RawDelivery, status: int, principal: str = ""
    ) -> Response:
        """Store a delivery received over HTTP, and return the response with its inbound id."""
        content_type = request.headers.get("content-type", "")[:100]
        receipt = await self.store(raw, content_type=content_type, principal=principal)
        return Response(receipt, status, media_type="application/json")

    async def store(
        self, raw: RawDelivery, *, content_type: str = "", principal: str = ""
    ) -> bytes:
        """Store a delivery, and return the JSON document its sender receives.

        Raises a `Problem` with the status 503 if it could not be stored.
        """
        outgoing = envelope.write(
            raw,
            content_type=content_type,
            principal=principal,
            traceparent=tracing.traceparent(),
        )
        try:
            await self._publisher.publish(outgoing)
        except NotReady as why:
            raise unavailable(f"{why}; send it again") from None
        return b'{"inbound_id":"%b"}' % raw.inbound_id.encode()

    def check_rate(self, channel: str, account: str, contact: str | None = None) -> None:
        """Raise a `Problem` (429) if an account, or one contact of it, exceeds its rate."""
        bucket, limit = (channel, account), self._accounts.account_rate
        if contact is not None:
            bucket, limit = (channel, f"{account} {contact}"), min(limit, CONTACT_RATE_PER_S)
        wait_s = self._rate_limit.acquire(bucket, limit)
        if wait_s:
            headers = {"Retry-After": str(math.ceil(wait_s))}
            subject = "contact" if contact else "account"
            detail = f"this {subject} may send {limit:g} deliveries a second"
            raise Problem(429, "too_many_requests", detail, headers=headers)

    async def _identify(self, request: Request) -> Identity:
        """Return the caller; raises a `Problem` without a valid token or an allowed role."""
        scheme, token = credentials(request)
        if scheme != "bearer" or not token:
            raise unauthorized("a bearer token is needed", error=None)
        auth: Auth = request.app.state.auth
        caller = await auth.identify(token)
        caller.require(*SUBMITTER_ROLES)
        return caller

    def _check_submission(self, form: type[Submission], body: bytes) -> Submission:
        """Return a valid submission; raises a `Problem` naming what is wrong."""
        try:
            submission = form.model_validate_json(body)
        except ValidationError as bad:
            raise of_validation(bad.errors(include_url=False)) from None
        # In a conversation it may be a further message, which needs no fields.
        is_complete = submission.conversation is None
        for where, value, wrong in self._accounts.rules().violations(
            submission.attributes(), whole=is_complete
        ):
            raise invalid(f"{where} {wrong}", at=where, value=value)
        return submission


def single_parameter(query: QueryParams, name: str) -> str:
    """Return the value of a query parameter that occurs exactly once, else an empty string."""
    values = query.getlist(name)
    return values[0] if len(values) == 1 else ""


def idempotency_key(request: Request) -> str | None:
    """Return the value of `Idempotency-Key`, or None; raises `invalid` for a malformed one."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 0 < len(key) <= 255 or not key.isascii() or not key.isprintable():
        rule = "must be 1 to 255 printable ASCII characters"
        raise invalid(f"Idempotency-Key {rule}", at="header.Idempotency-Key", value=key)
    return key
