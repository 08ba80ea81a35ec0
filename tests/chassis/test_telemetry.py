"""Logs, metrics and traces."""

import json
import logging
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
import structlog
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from chassis.observability import tracing
from chassis.observability.metrics import REGISTRY
from chassis.observability.tracing import continued, metrics, traceparent
from chassis.settings import Settings
from chassis.web import conventions, problems

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def spans() -> Generator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.record(provider)
    yield exporter
    tracing.record(None)


@pytest_asyncio.fixture
async def client(request: pytest.FixtureRequest) -> AsyncGenerator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    conventions.install(app)
    tracing.install(app, request.node.name)

    @app.get("/requests/{key}")
    async def one(key: str) -> str | None:
        return traceparent()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter([b"a", b"b"]))

    @app.get("/bug")
    async def bug() -> None:
        raise KeyError("Halyna")

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened


def counted(service: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(
        "trunkline_http_requests_total", {"service": service, **labels}
    )


async def test_requests_are_counted_by_route_and_never_by_id(
    client: httpx.AsyncClient, request: pytest.FixtureRequest
) -> None:
    for key in range(20):
        await client.get(f"/requests/{key}")
        await client.get(f"/nowhere/{key}")
    await client.request("BREW", "/stream")
    await client.get("/bug")

    name = request.node.name
    assert counted(name, route="/requests/{key}", method="GET", status="200") == 20
    assert counted(name, route="unmatched", method="GET", status="404") == 20
    assert counted(name, route="/bug", method="GET", status="500") == 1
    text = (await client.get("/metrics")).text
    mine = [line for line in text.splitlines() if f'service="{name}"' in line]
    assert {line.split('route="')[1].split('"')[0] for line in mine} == {
        "/requests/{key}",
        "unmatched",
        "/bug",
        "/stream",
    }
    assert 'method="OTHER"' in text
    assert "BREW" not in text


async def test_the_core_has_its_metrics(client: httpx.AsyncClient) -> None:
    metrics.reader_lag.labels("tickets", "INGEST").set(3)

    answer = await client.get("/metrics")

    assert 'trunkline_reader_lag{reader="INGEST",service="tickets"} 3.0' in answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")


async def test_a_request_continues_its_callers_trace(client: httpx.AsyncClient) -> None:
    given = (await client.get("/requests/1", headers={"traceparent": PARENT})).json()

    assert given.split("-")[1] == PARENT.split("-")[1]


@pytest.mark.parametrize(
    "wrong",
    ["", "x", PARENT.upper(), PARENT.replace("00-", "ff-", 1), f"00-{'0' * 32}-{'1' * 16}-00"],
)
async def test_what_makes_no_sense_begins_a_new_trace(
    client: httpx.AsyncClient, wrong: str
) -> None:
    given = (await client.get("/requests/1", headers={"traceparent": wrong})).json()
    other = (await client.get("/requests/1", headers={"traceparent": wrong})).json()

    assert len(given) == len(PARENT)
    assert given.split("-")[1] not in {other.split("-")[1], PARENT.split("-")[1], "0" * 32}


async def test_a_strangers_words_end_at_the_door(
    client: httpx.AsyncClient, spans: InMemorySpanExporter
) -> None:
    await client.get(
        "/requests/1",
        headers={"traceparent": PARENT, "tracestate": "x=anna", "baggage": "name=anna"},
    )

    (span,) = spans.get_finished_spans()
    assert span.name == "GET /requests/{key}"
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == PARENT.split("-")[1]
    assert not span.context.trace_state
    assert "anna" not in span.to_json()


def test_work_outside_any_trace_has_none() -> None:
    assert traceparent() is None


def test_a_part_begun_inside_another_belongs_to_the_same_trace() -> None:
    with continued(None, "outer"):
        outer = traceparent()
        with continued(None, "inner"):
            inner = traceparent()

    assert outer is not None
    assert inner is not None
    assert outer.split("-")[1] == inner.split("-")[1]


def test_a_failed_part_tells_the_kind_of_error_only(spans: InMemorySpanExporter) -> None:
    with pytest.raises(KeyError), continued(PARENT, "apply"):
        raise KeyError("Halyna")

    (span,) = spans.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "KeyError")
    assert "Halyna" not in span.to_json()


def written(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_logs_are_json_with_the_trace_they_belong_to(capsys: pytest.CaptureFixture[str]) -> None:
    tracing.configure("tickets", Settings())

    with continued(PARENT, "apply"):
        structlog.get_logger().info("applied", facts=3)
        logging.getLogger("chassis.messaging.reader").warning("late by %d s", 3)
    logging.getLogger("httpx").info("GET https://api.example/bot1:secret/sendMessage")

    ours, theirs = written(capsys)
    assert (ours["event"], ours["facts"], ours["level"]) == ("applied", 3, "info")
    assert (theirs["event"], theirs["level"]) == ("late by 3 s", "warning")
    assert ours["service"] == theirs["service"] == "tickets"
    assert ours["trace"] == theirs["trace"] == PARENT.split("-")[1]
    assert ours["at"].endswith("Z")


def test_exception_is_logged_by_kind_without_its_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tracing.configure("tickets", Settings())
    try:
        try:
            raise ConnectionRefusedError("nobody listens")
        except OSError as error:
            raise ValueError("Halyna") from error
    except ValueError:
        logging.getLogger("chassis").exception("failed")

    (line,) = written(capsys)
    assert line["error"]["kind"] == "builtins.ValueError"
    assert line["error"]["because"]["said"] == "nobody listens"
    assert "test_telemetry.py" in line["error"]["at"][-1]
    assert "Halyna" not in json.dumps(line)


async def test_a_bug_is_logged_once(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    tracing.configure("tickets", Settings())

    await client.get("/bug", headers={"traceparent": PARENT})

    (line,) = written(capsys)
    assert (line["event"], line["trace"]) == ("unexpected", PARENT.split("-")[1])


def test_a_collector_without_an_exporter_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(tracing, "EXPORTER", "opentelemetry.exporter.absent")

    tracing.configure("tickets", Settings())

    assert "no exporter is installed" in written(capsys)[0]["event"]
