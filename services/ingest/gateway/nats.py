"""The door for integrators' own channels over NATS: the body is the one they may sign over HTTP.

The subject shows who sends: only the integrator's own account imports it. Nothing else of what they
send along is believed; headers are written anew.
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
from ingest.gateway.endpoints import check_said
from ingest.gateway.receiver import Door

log = logging.getLogger(__name__)

CHANNEL, SUBJECT, QUEUE = "custom", "channels.custom.*", "ingest"
LAST_WORDS = 3.0
"""Seconds for what is being answered when the door closes."""

asked = counter("channel_asked_total", "Deliveries over NATS, by the status answered", "status")


class Integrators:
    """Lets in what integrators ask."""

    def __init__(self, service: Service, accounts: IngestConfiguration, door: Door) -> None:
        self._service = service
        self._accounts = accounts
        self._door = door
        self._busy: set[asyncio.Task[None]] = set()

    async def _take(self, account: str, body: bytes) -> bytes:
        self._door.check_rate(CHANNEL, account)
        check_said(body)
        raw = self._door.raw(CHANNEL, account, body)
        return await self._door.store(raw, content_type="application/json")

    async def listen(self) -> None:
        """Answer over NATS beside the other replicas; when told to stop, end what was begun."""
        asking = await self._service.bus.nc.subscribe(SUBJECT, QUEUE, self._heard)
        try:
            await asyncio.Event().wait()
        finally:
            with suppress(nats.errors.Error, OSError, TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await asking.drain()  # type: ignore[no-untyped-call]  # the client's own
            if self._busy:
                await asyncio.wait(self._busy, timeout=LAST_WORDS)

    async def _heard(self, message: Msg) -> None:
        task = asyncio.create_task(self._answer(message))
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)

    async def _answer(self, message: Msg) -> None:
        with continued("", SUBJECT, kind=SpanKind.SERVER):
            said = await self._outcome(message)
        asked.labels("ingest", said.status_code).inc()
        if message.reply:
            kept = ("content-type", "retry-after")
            headers = {name.title(): said.headers[name] for name in kept if name in said.headers}
            with suppress(nats.errors.Error, OSError):
                await self._service.bus.nc.publish(message.reply, bytes(said.body), headers=headers)

    async def _outcome(self, message: Msg) -> Response:
        account = message.subject.rpartition(".")[2]
        try:
            if len(message.data) > MAX_BODY_BYTES:
                return Problem(
                    413, "too_large", f"the body may have {MAX_BODY_BYTES} bytes"
                ).response()
            if not self._accounts.has_account(CHANNEL, account):
                return Problem(403, "forbidden", "this channel is not declared").response()
            stored = await self._take(account, message.data)
        except Problem as why:
            return why.response()
        except NotReady as why:
            return unavailable(str(why)).response()
        except Exception:
            log.exception("a delivery over NATS could not be answered")
            return Problem(
                500, "unexpected", "something went wrong here; it has been noted"
            ).response()
        return Response(stored, 202, media_type="application/json")
