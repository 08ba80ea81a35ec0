"""The sink takes what the services send, shows it, and misbehaves on demand."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from trunkline.sink.server import build
from trunkline.supervisor import Program

SEND = "/bot12:ab/sendMessage"


@pytest.fixture
async def sink() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build(keep=3))
    async with httpx.AsyncClient(transport=transport, base_url="http://sink") as client:
        yield client


async def texts(sink: httpx.AsyncClient, **query: str) -> list[str]:
    return [item["text"] for item in (await sink.get("/sent", params=query)).json()["items"]]


async def test_it_answers_as_telegram_does_and_remembers(sink: httpx.AsyncClient) -> None:
    answer = await sink.post(SEND, json={"chat_id": 7, "text": "Здрастуйте"})
    await sink.post(SEND, data={"chat_id": "8", "text": "by form"})
    await sink.post("/webhook/audit", content=b'{"a":1}', headers={"webhook-id": "x"})
    refused = await sink.post(SEND, json={"chat_id": 7})

    assert answer.json()["ok"] is True
    assert answer.json()["result"]["message_id"] == 1
    assert answer.json()["result"]["chat"]["id"] == 7
    assert refused.status_code == 400
    assert await texts(sink, channel="telegram", to="7") == ["Здрастуйте"]
    assert await texts(sink, channel="telegram") == ["Здрастуйте", "by form"]
    [hook] = (await sink.get("/sent", params={"channel": "webhook", "to": "audit"})).json()["items"]
    assert hook["headers"]["webhook-id"] == "x"


async def test_its_memory_is_bounded(sink: httpx.AsyncClient) -> None:
    for text in "abcd":
        await sink.post(SEND, json={"chat_id": 1, "text": text})

    assert await texts(sink) == ["b", "c", "d"]
    await sink.delete("/sent")
    assert await texts(sink) == []


async def test_it_refuses_as_often_as_it_was_told(sink: httpx.AsyncClient) -> None:
    await sink.post("/faults", json={"status": 429, "retry_after": 3, "times": 2, "to": "1"})
    answers = [await sink.post(SEND, json={"chat_id": n, "text": "x"}) for n in (1, 2, 1, 1)]

    assert [answer.status_code for answer in answers] == [429, 200, 429, 200]
    assert answers[0].json()["parameters"] == {"retry_after": 3}
    assert answers[0].headers["retry-after"] == "3"
    assert len(await texts(sink)) == 2


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    sink = Program(
        "sink",
        [sys.executable, "-m", "trunkline.sink"],
        tmp_path / "sink.log",
        environment=os.environ,
    )
    with sink:
        sink.wait()
        yield sink.url


async def test_it_cuts_the_line_with_the_message_taken_or_not(served: str) -> None:
    async with httpx.AsyncClient(base_url=served) as client:
        for taken in (False, True):
            await client.post("/faults", json={"kind": "drop", "taken": taken})
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post(SEND, json={"chat_id": 1, "text": f"taken {taken}"})

        assert await texts(client) == ["taken True"]
