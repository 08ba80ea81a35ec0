"""The sink plays the outside world: what the services send arrives here, and can be read back.

It can also misbehave on demand: the next deliveries are refused, delayed, cut off or never
answered, before or after they were taken in. It is one file because it is one small server. Long,
as it plays every platform.
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

from trunkline.sink.smtp import opened


class Fault(BaseModel):
    """What the next deliveries get instead of an answer."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["status", "hang", "drop"] = "status"
    status: int = Field(500, ge=400, le=599)
    retry_after: int | None = None
    seconds: float = 3600
    times: int = Field(1, ge=1)
    channel: str | None = None
    to: str | None = None
    taken: bool = False
    """Whether the delivery is taken in before things go wrong: its sender cannot know."""

    def meets(self, channel: str, to: str) -> bool:
        """Whether this delivery is one of those."""
        return self.channel in {None, channel} and self.to in {None, to}


class Cut(Response):
    """An answer that breaks off: the connection closes before it is whole."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Promise a body and leave."""
        headers = [(b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 502, "headers": headers})


class Memory:
    """What arrived, and what is to go wrong next."""

    def __init__(self, keep: int) -> None:
        self.sent: deque[dict[str, Any]] = deque(maxlen=keep)
        self.faults: list[Fault] = []
        self.numbers = itertools.count(1)

    def next_fault(self, channel: str, to: str) -> Fault | None:
        """The fault this delivery meets, if any; each is used up."""
        fault = next((fault for fault in self.faults if fault.meets(channel, to)), None)
        if fault is not None:
            fault.times -= 1
            if fault.times == 0:
                self.faults.remove(fault)
        return fault

    def keep(self, channel: str, to: str, text: str, headers: dict[str, str], body: str) -> None:
        """Remember a delivery."""
        at = datetime.now(UTC).isoformat()
        item = {"channel": channel, "to": to, "text": text}
        self.sent.append({**item, "headers": headers, "at": at, "body": body})

    async def take(
        self, request: Request, channel: str, to: str, text: str, answer: dict[str, Any]
    ) -> Response:
        """Take a delivery in and answer it, or misbehave."""
        fault = self.next_fault(channel, to)
        if fault is None or fault.taken:
            body = (await request.body()).decode(errors="replace")
            self.keep(channel, to, text, dict(request.headers), body)
        if fault is None:
            return JSONResponse(answer)
        if fault.kind == "hang":
            await asyncio.sleep(fault.seconds)
        return Cut() if fault.kind == "drop" else _refusal(fault)


def _memory(request: Request) -> Memory:
    memory: Memory = request.app.state.memory
    return memory


Here = Annotated[Memory, Depends(_memory)]
router = APIRouter()


@router.get("/health/ready")
async def ready() -> dict[str, str]:
    """Say that it listens."""
    return {"status": "ready"}


@router.post("/bot{token}/{method}")
async def telegram(here: Here, request: Request, method: str) -> Response:
    """Telegram's Bot API, as far as sending goes."""
    body = await _body(request)
    if method.lower() != "sendmessage":
        return JSONResponse({"ok": True, "result": True})
    missing = next((name for name in ("chat_id", "text") if not body.get(name)), None)
    if missing is not None:
        told = {"ok": False, "error_code": 400, "description": f"Bad Request: no {missing}"}
        return JSONResponse(told, status_code=400)
    chat, now = body["chat_id"], int(datetime.now(UTC).timestamp())
    message = {"message_id": next(here.numbers), "date": now, "text": body["text"]}
    message["chat"] = {"id": chat, "type": "private"}
    answer = {"ok": True, "result": message}
    return await here.take(request, "telegram", str(chat), str(body["text"]), answer)


@router.post("/custom/{account}")
async def custom(here: Here, request: Request, account: str) -> Response:
    """A custom channel's receiver."""
    body = await _body(request)
    contact = body.get("contact")
    known = contact.get("id") if isinstance(contact, dict) else contact
    to = str(body.get("to") or body.get("conversation") or known or account)
    answer = {"id": str(next(here.numbers))}
    return await here.take(request, "custom", to, str(body.get("text", "")), answer)


@router.post("/webhook/{name}")
async def webhook(here: Here, request: Request, name: str) -> Response:
    """A webhook's receiver; the text is the raw body."""
    text = (await request.body()).decode(errors="replace")
    return await here.take(request, "webhook", name, text, {"ok": True})


@router.get("/sent")
async def look(here: Here, channel: str | None = None, to: str | None = None) -> dict[str, Any]:
    """What has arrived, oldest first."""
    wanted = {"channel": channel, "to": to}
    asked = {name: value for name, value in wanted.items() if value is not None}
    found = [item for item in here.sent if asked.items() <= _found_by(item)]
    return {"items": found, "next": None}


def _found_by(item: dict[str, Any]) -> set[tuple[str, str]]:
    return {("channel", item["channel"]), ("to", item["to"])}


@router.delete("/sent", status_code=204)
async def forget(here: Here) -> None:
    """Forget what has arrived."""
    here.sent.clear()


@router.post("/faults", status_code=201)
async def misbehave(here: Here, fault: Fault) -> Fault:
    """Misbehave for the next deliveries that fit."""
    here.faults.append(fault)
    return fault


@router.delete("/faults", status_code=204)
async def behave(here: Here) -> None:
    """Behave again."""
    here.faults.clear()


def build(keep: int = 20_000, smtp: tuple[str, int] | None = None) -> FastAPI:
    """A sink that remembers the last `keep` deliveries, and takes mail where `smtp` says."""
    app = FastAPI(title="Trunkline's sink", lifespan=opened(*smtp) if smtp else None)
    app.state.memory = Memory(keep)
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


def _refusal(fault: Fault) -> Response:
    told: dict[str, Any] = {"ok": False, "error_code": fault.status, "description": "a fault"}
    headers = {}
    if fault.retry_after is not None:
        told["parameters"] = {"retry_after": fault.retry_after}
        headers["retry-after"] = str(fault.retry_after)
    return JSONResponse(told, status_code=fault.status, headers=headers)


def main() -> None:
    """Serve the sink where HOST and PORT say."""
    from trunkline.serving import run

    port = int(os.environ.get("SMTP_PORT") or 0)
    smtp = (os.environ.get("HOST", "127.0.0.1"), port) if port else None
    run(build(int(os.environ.get("SINK_KEEP", "20000")), smtp))
