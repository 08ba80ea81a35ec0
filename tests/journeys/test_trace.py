"""One trace from the door to the last send, over all five services in one process."""

from __future__ import annotations

import asyncio
import importlib
import logging
from base64 import b64encode
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import structlog
import uvicorn
from desk import update
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from service_settings import settings_class

from chassis.observability import tracing
from chassis.testing import eventually, running
from trunkline.sink import server as the_sink

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from world import World

SERVICES = ("ingest", "routing", "tickets", "sla", "notify")
STRANGER = "00-{trace}-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Every span of this test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.record(provider)
    yield exporter
    tracing.record(None)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@asynccontextmanager
async def outside() -> AsyncGenerator[str]:
    """The outside world on a free port; gives its address."""
    config = uvicorn.Config(
        the_sink.build(), port=0, log_config=None, lifespan="off", ws="none",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await eventually(started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await task


@asynccontextmanager
async def everything(world: World) -> AsyncGenerator[dict[str, httpx.AsyncClient]]:
    """All five services, and the sink where they send to."""
    async with AsyncExitStack() as stack:
        sink = await stack.enter_async_context(outside())
        clients = {}
        for name in SERVICES:
            kind = settings_class(name)
            settings = world.settings(name, kind, SINK_URL=sink)
            app = importlib.import_module(f"{name}.app").make(settings)
            clients[name] = await stack.enter_async_context(running(app))
        yield clients


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


async def test_trace_leads_from_delivery_to_last_send(
    world: World, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOK_AUDIT_SECRET", f"whsec_{b64encode(bytes(32)).decode()}")
    await world.apply()

    def named(name: str) -> list[ReadableSpan]:
        return [span for span in spans.get_finished_spans() if span.name == name]

    async with everything(world) as at:
        await eventually(lambda: _ready(at))
        anna, boss = world.token("operator", subject="anna"), world.token("supervisor")
        presence = await at["routing"].put(
            "/v1/operators/anna/presence", json={"status": "online"}, headers=anna
        )
        assert presence.status_code == 200, presence.text
        accepted = await at["ingest"].post(
            "/channels/telegram/main",
            json=update(1, 77, "Where is my order?"),
            headers={
                "X-Telegram-Bot-Api-Secret-Token": "telegram-secret",
                "traceparent": "00-this-makes-no-sense",
                "baggage": "customer=Iryna",
            },
        )
        assert accepted.status_code == 200, accepted.text

        async def rung() -> list[dict[str, Any]]:
            answer = await at["notify"].get("/v1/operators/anna/notifications", headers=anna)
            return [n for n in answer.json()["items"] if n["kind"] == "assigned"]

        request_id = (await eventually(rung))[0]["request_id"]
        door = named("POST /channels/telegram/{account}")[0]
        message = trace_of(door)
        assert door.context is not None
        assert door.parent is None
        facts = (
            ("ingest", "delivery"),
            ("tickets", "trunkline.ingest.v1.request_opened"),
            ("routing", "trunkline.tickets.v1.opened"),
            ("tickets", "trunkline.routing.v1.request_assigned"),
            ("sla", "trunkline.tickets.v1.opened"),
            ("notify", "trunkline.tickets.v1.assignee_changed"),
        )
        for service, fact in facts:
            (span,) = named(f"{service} hears {fact}")
            assert trace_of(span) == message, span.name
        ((told,),) = await world.sql(
            "notify", "SELECT convert_from(body, 'UTF8')::json->>'traceparent' FROM outbox"
            " WHERE type = 'trunkline.notify.v1.notification_sent' LIMIT 1",
        )  # fmt: skip
        assert told.split("-")[1] == message

        async def handed_over() -> list[ReadableSpan]:
            """The webhook's sends of what followed from the message."""
            return [span for span in named("send") if trace_of(span) == message]

        sends = await eventually(handed_over)
        assert {send.parent and send.parent.span_id for send in sends} == {door.context.span_id}

        stranger = "0af7651916cd43dd8448eb211c80319c"
        replied = await at["tickets"].post(
            f"/v1/requests/{request_id}/reply",
            json={"text": "On its way."},
            headers=anna | {"traceparent": STRANGER.format(trace=stranger)},
        )
        assert replied.status_code == 201, replied.text

        async def sent() -> list[ReadableSpan]:
            return [span for span in named("send") if trace_of(span) == stranger]

        sends = await eventually(sent)
        command = named("POST /v1/requests/{request_id}/reply")[0]
        assert command.context is not None
        assert {send.parent and send.parent.span_id for send in sends} == {command.context.span_id}

        async def recorded() -> list[ReadableSpan]:
            return named("tickets hears trunkline.notify.v1.message_sent")

        assert trace_of((await eventually(recorded))[0]) == stranger
        log = await at["tickets"].get(f"/v1/requests/{request_id}/log", headers=boss)
        assert "Iryna" not in str(spans.get_finished_spans())
        assert log.status_code == 200


async def _ready(at: dict[str, httpx.AsyncClient]) -> bool:
    answers = [await client.get("/health/ready") for client in at.values()]
    return all(answer.status_code == 200 for answer in answers)
