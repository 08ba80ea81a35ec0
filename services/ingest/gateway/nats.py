"""Receive messages of integrators' own channels over NATS, by request and reply.

The body is the one that integrators sign over HTTP. The subject and the reply subject authenticate
the sender: only the integrator's own NATS account imports the subject, and the server puts a reply
subject below `_R_.` in place of the integrator's. In the account of the services nobody may publish
to the subject, but the response to a JetStream call reaches it if the caller names it as the reply
subject. Such a response has no reply subject, or one below `$JS.ACK.`; it is ignored. Headers of
the sender are not used.
"""

import asyncio
import logging
from contextlib import suppress

import nats.errors
from nats.aio.msg import Msg
from opentelemetry.trace import SpanKind
from starlette.responses import Response

from chassis.errors import NotReady
from chassis.observability.metrics import counter
from chassis.observability.tracing import continued
from chassis.service import Service
from chassis.web.conventions import MAX_BODY_BYTES
from chassis.web.problems import Problem, unavailable
from ingest.configuration import IngestConfiguration
from ingest.gateway.endpoints import check_custom_message
from ingest.gateway.receiver import Receiver

log = logging.getLogger(__name__)

CHANNEL, SUBJECT, QUEUE = "custom", "channels.custom.*", "ingest"
IMPORTED_REPLY = "_R_."
"""The server's prefix of the reply subjects of requests from other accounts."""
REPLY_HEADERS = ("content-type", "retry-after")
DRAIN_TIMEOUT_S = 3.0
"""For the deliveries in progress when the service stops."""

DELIVERIES = counter("channel_asked_total", "Deliveries over NATS, by the reply's status", "status")
IGNORED = counter("channel_ignored_total", "Messages over NATS that no integrator requested")


class NatsReceiver:
    """Stores deliveries published over NATS, and replies with an inbound id or a problem."""

    def __init__(self, service: Service, accounts: IngestConfiguration, receiver: Receiver) -> None:
        self._service = service
        self._accounts = accounts
        self._receiver = receiver
        self._in_progress: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Serve deliveries until cancelled; replicas share them, and finish those in progress."""
        subscription = await self._service.bus.nc.subscribe(SUBJECT, QUEUE, self._on_message)
        try:
            await asyncio.Event().wait()
        finally:
            with suppress(nats.errors.Error, OSError, TimeoutError):
                async with asyncio.timeout(DRAIN_TIMEOUT_S):
                    await subscription.drain()  # type: ignore[no-untyped-call]  # the client's own
            if self._in_progress:
                await asyncio.wait(self._in_progress, timeout=DRAIN_TIMEOUT_S)

    async def _on_message(self, message: Msg) -> None:
        if not message.reply.startswith(IMPORTED_REPLY):
            IGNORED.labels("ingest").inc()
            log.warning(
                "ignored a message on %s: it is not a request from an integrator's account",
                message.subject,
            )
            return
        task = asyncio.create_task(self._reply(message))
        self._in_progress.add(task)
        task.add_done_callback(self._in_progress.discard)

    async def _reply(self, message: Msg) -> None:
        with continued("", SUBJECT, kind=SpanKind.SERVER):
            response = await self._respond(message)
        DELIVERIES.labels("ingest", response.status_code).inc()
        headers = {
            name.title(): response.headers[name]
            for name in REPLY_HEADERS
            if name in response.headers
        }
        with suppress(nats.errors.Error, OSError):
            await self._service.bus.nc.publish(message.reply, bytes(response.body), headers=headers)

    async def _respond(self, message: Msg) -> Response:
        """Store a delivery; return the response HTTP would return."""
        account = message.subject.rpartition(".")[2]
        try:
            if len(message.data) > MAX_BODY_BYTES:
                return Problem(
                    413, "too_large", f"the body may have {MAX_BODY_BYTES} bytes"
                ).response()
            if not self._accounts.has_account(CHANNEL, account):
                return Problem(403, "forbidden", "this channel is not declared").response()
            receipt = await self._store(account, message.data)
        except Problem as why:
            return why.response()
        except NotReady as why:
            return unavailable(str(why)).response()
        except Exception:
            log.exception("a delivery over NATS could not be processed")
            detail = "an unexpected error occurred; it was logged"
            return Problem(500, "unexpected", detail).response()
        return Response(receipt, 202, media_type="application/json")

    async def _store(self, account: str, body: bytes) -> bytes:
        self._receiver.check_rate(CHANNEL, account)
        check_custom_message(body)
        raw = self._receiver.new_delivery(CHANNEL, account, body)
        return await self._receiver.store(raw, content_type="application/json")
