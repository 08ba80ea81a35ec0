"""The sink plays the outside world: what the services send arrives here, and can be read back.

It can also misbehave on demand: the next deliveries are refused, delayed, cut off or never
answered, before or after they were taken in.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections import deque
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send


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


def build(keep: int = 20_000) -> FastAPI:
    """A sink that remembers the last `keep` deliveries."""
    app = FastAPI(title="Trunkline's sink")
    sent: deque[dict[str, Any]] = deque(maxlen=keep)
    faults: list[Fault] = []
    numbers = itertools.count(1)

    def fault_for(channel: str, to: str) -> Fault | None:
        fault = next((fault for fault in faults if fault.meets(channel, to)), None)
        if fault is not None:
            fault.times -= 1
            if fault.times == 0:
                faults.remove(fault)
        return fault

    async def take(
        request: Request, channel: str, to: str, text: str, answer: dict[str, Any]
    ) -> Response:
        fault = fault_for(channel, to)
        if fault is None or fault.taken:
            sent.append(
                {
                    "channel": channel,
                    "to": to,
                    "text": text,
                    "headers": dict(request.headers),
                    "at": datetime.now(UTC).isoformat(),
                }
            )
        if fault is None:
            return JSONResponse(answer)
        if fault.kind == "hang":
            await asyncio.sleep(fault.seconds)
        return Cut() if fault.kind == "drop" else _refusal(fault)

    @app.get("/health/ready")
    @app.get("/health/live")
    async def healthy() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/bot{token}/{method}")
    async def telegram(request: Request, method: str) -> Response:
        """Telegram's Bot API, as far as sending goes."""
        body = await _body(request)
        if method.lower() != "sendmessage":
            return JSONResponse({"ok": True, "result": True})
        missing = next((name for name in ("chat_id", "text") if not body.get(name)), None)
        if missing is not None:
            told = {"ok": False, "error_code": 400, "description": f"Bad Request: no {missing}"}
            return JSONResponse(told, status_code=400)
        chat, now = body["chat_id"], int(datetime.now(UTC).timestamp())
        message = {"message_id": next(numbers), "date": now, "text": body["text"]}
        message["chat"] = {"id": chat, "type": "private"}
        answer = {"ok": True, "result": message}
        return await take(request, "telegram", str(chat), str(body["text"]), answer)

    @app.post("/custom/{account}")
    async def custom(request: Request, account: str) -> Response:
        """A custom channel's receiver."""
        body = await _body(request)
        contact = body.get("contact")
        known = contact.get("id") if isinstance(contact, dict) else contact
        to = str(body.get("to") or body.get("conversation") or known or account)
        answer = {"id": str(next(numbers))}
        return await take(request, "custom", to, str(body.get("text", "")), answer)

    @app.post("/webhook/{name}")
    async def webhook(request: Request, name: str) -> Response:
        """A webhook's receiver; the text is the raw body."""
        text = (await request.body()).decode(errors="replace")
        return await take(request, "webhook", name, text, {"ok": True})

    @app.get("/sent")
    async def look(channel: str | None = None, to: str | None = None) -> dict[str, Any]:
        """What has arrived, oldest first."""
        items = [
            item for item in sent if channel in {None, item["channel"]} and to in {None, item["to"]}
        ]
        return {"items": items, "next": None}

    @app.delete("/sent", status_code=204)
    async def forget() -> None:
        """Forget what has arrived."""
        sent.clear()

    @app.post("/faults", status_code=201)
    async def misbehave(fault: Fault) -> Fault:
        """Misbehave for the next deliveries that fit."""
        faults.append(fault)
        return fault

    @app.delete("/faults", status_code=204)
    async def behave() -> None:
        """Behave again."""
        faults.clear()

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
    from trunkline.serving import run  # noqa: PLC0415  not needed by those who only build it

    run(build(int(os.environ.get("SINK_KEEP", "20000"))))


if __name__ == "__main__":
    main()
