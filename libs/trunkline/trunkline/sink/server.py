"""The sink's HTTP server: it records what the services send, and returns it at `/sent`.

It can also fail on demand (`/faults`): refuse, delay, cut off or never answer the next deliveries,
before or after it recorded them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections import deque
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from trunkline.sink.smtp import smtp_lifespan


class Fault(BaseModel):
    """A failure of the next deliveries."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["status", "hang", "drop"] = "status"
    status: int = Field(500, ge=400, le=599)
    retry_after: int | None = None
    seconds: float = 3600
    times: int = Field(1, ge=1)
    channel: str | None = None
    to: str | None = None
    taken: bool = False
    """The delivery is recorded before it fails; the sender cannot know."""

    def matches(self, channel: str, to: str) -> bool:
        """Check whether the fault applies to a delivery."""
        return self.channel in {None, channel} and self.to in {None, to}


class BrokenResponse(Response):
    """A response whose connection closes before the body is complete."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Announce a body and send none."""
        headers = [(b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 502, "headers": headers})


class SinkState:
    """The recorded deliveries, and the pending faults."""

    def __init__(self, keep: int) -> None:
        self.sent: deque[dict[str, Any]] = deque(maxlen=keep)
        self.faults: list[Fault] = []
        self.numbers = itertools.count(1)

    def next_fault(self, channel: str, to: str) -> Fault | None:
        """Return the fault that applies to a delivery, and count it as used."""
        fault = next((fault for fault in self.faults if fault.matches(channel, to)), None)
        if fault is not None:
            fault.times -= 1
            if fault.times == 0:
                self.faults.remove(fault)
        return fault

    def record(self, channel: str, to: str, text: str, headers: dict[str, str], body: str) -> None:
        """Record a delivery."""
        at = datetime.now(UTC).isoformat()
        item = {"channel": channel, "to": to, "text": text}
        self.sent.append({**item, "headers": headers, "at": at, "body": body})

    async def receive(
        self, request: Request, channel: str, to: str, text: str, answer: dict[str, Any]
    ) -> Response:
        """Record a delivery and answer it, or fail as the next fault demands."""
        fault = self.next_fault(channel, to)
        if fault is None or fault.taken:
            body = (await request.body()).decode(errors="replace")
            self.record(channel, to, text, dict(request.headers), body)
        if fault is None:
            return JSONResponse(answer)
        if fault.kind == "hang":
            await asyncio.sleep(fault.seconds)
        return BrokenResponse() if fault.kind == "drop" else _error_response(fault)


def _state(request: Request) -> SinkState:
    state: SinkState = request.app.state.memory
    return state


StateDep = Annotated[SinkState, Depends(_state)]
router = APIRouter()


@router.get("/health/ready")
async def ready() -> dict[str, str]:
    """Confirm that the sink listens."""
    return {"status": "ready"}


@router.post("/bot{token}/{method}")
async def telegram(state: StateDep, request: Request, method: str) -> Response:
    """Accept calls of Telegram's Bot API; only `sendMessage` is recorded."""
    body = await _body(request)
    if method.lower() != "sendmessage":
        return JSONResponse({"ok": True, "result": True})
    missing = next((name for name in ("chat_id", "text") if not body.get(name)), None)
    if missing is not None:
        body = {"ok": False, "error_code": 400, "description": f"Bad Request: no {missing}"}
        return JSONResponse(body, status_code=400)
    chat, now = body["chat_id"], int(datetime.now(UTC).timestamp())
    message = {"message_id": next(state.numbers), "date": now, "text": body["text"]}
    message["chat"] = {"id": chat, "type": "private"}
    answer = {"ok": True, "result": message}
    return await state.receive(request, "telegram", str(chat), str(body["text"]), answer)


@router.post("/custom/{account}")
async def custom(state: StateDep, request: Request, account: str) -> Response:
    """Accept a reply to a custom channel."""
    body = await _body(request)
    contact = body.get("contact")
    contact_id = contact.get("id") if isinstance(contact, dict) else contact
    to = str(body.get("to") or body.get("conversation") or contact_id or account)
    answer = {"id": str(next(state.numbers))}
    return await state.receive(request, "custom", to, str(body.get("text", "")), answer)


@router.post("/webhook/{name}")
async def webhook(state: StateDep, request: Request, name: str) -> Response:
    """Accept a webhook; the recorded text is the raw body."""
    text = (await request.body()).decode(errors="replace")
    return await state.receive(request, "webhook", name, text, {"ok": True})


@router.get("/sent")
async def list_sent(
    state: StateDep, channel: str | None = None, to: str | None = None
) -> dict[str, Any]:
    """List recorded deliveries, the oldest first."""
    parameters = {"channel": channel, "to": to}
    query = {name: value for name, value in parameters.items() if value is not None}
    items = [item for item in state.sent if query.items() <= _searchable(item)]
    return {"items": items, "next": None}


def _searchable(item: dict[str, Any]) -> set[tuple[str, str]]:
    return {("channel", item["channel"]), ("to", item["to"])}


@router.delete("/sent", status_code=204)
async def clear_sent(state: StateDep) -> None:
    """Delete all recorded deliveries."""
    state.sent.clear()


@router.post("/faults", status_code=201)
async def add_fault(state: StateDep, fault: Fault) -> Fault:
    """Add a fault for the next matching deliveries."""
    state.faults.append(fault)
    return fault


@router.delete("/faults", status_code=204)
async def clear_faults(state: StateDep) -> None:
    """Remove all faults."""
    state.faults.clear()


def build(keep: int = 20_000, smtp: tuple[str, int] | None = None) -> FastAPI:
    """Build a sink that keeps the last `keep` deliveries, and listens for e-mail at `smtp`."""
    app = FastAPI(title="Trunkline's sink", lifespan=smtp_lifespan(*smtp) if smtp else None)
    app.state.memory = SinkState(keep)
    app.include_router(router)
    return app


async def _body(request: Request) -> dict[str, Any]:
    if "json" not in request.headers.get("content-type", "json"):
        return dict(parse_qsl((await request.body()).decode(errors="replace")))
    try:
        body = json.loads(await request.body())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _error_response(fault: Fault) -> Response:
    body: dict[str, Any] = {"ok": False, "error_code": fault.status, "description": "a fault"}
    headers = {}
    if fault.retry_after is not None:
        body["parameters"] = {"retry_after": fault.retry_after}
        headers["retry-after"] = str(fault.retry_after)
    return JSONResponse(body, status_code=fault.status, headers=headers)


def main() -> None:
    """Serve the sink at HOST and PORT, and e-mail at SMTP_PORT if set."""
    from trunkline.serving import run

    port = int(os.environ.get("SMTP_PORT") or 0)
    smtp = (os.environ.get("HOST", "127.0.0.1"), port) if port else None
    run(build(int(os.environ.get("SINK_KEEP", "20000")), smtp))
