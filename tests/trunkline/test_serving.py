"""A service that is told to stop ends what it has begun, and ends well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import httpx
from desk import soon

from trunkline.child import free_port

SLOWLY = """
import asyncio, contextlib, sys
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from trunkline.serving import run

@contextlib.asynccontextmanager
async def lifespan(app):
    print("begun", flush=True)
    if "never" in sys.argv:
        await asyncio.Event().wait()
    yield
    print("ended", flush=True)

app = FastAPI(lifespan=lifespan)

@app.get("/slow")
async def slow():
    print("asked", flush=True)
    await asyncio.sleep(1)
    return "answered"

@app.get("/stream")
async def stream():
    async def endless():
        while True:
            yield b"."
            await asyncio.sleep(0.05)
    return StreamingResponse(endless())

run(app)
"""


def started(port: int, *words: str) -> subprocess.Popen[str]:
    """A process that serves, as far as it has printed its first word."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *words], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PORT": str(port)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def told_to_stop(process: subprocess.Popen[str]) -> tuple[str, float]:
    """What it says after SIGTERM, and how long it took."""
    since = time.monotonic()
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=15)
    return said, time.monotonic() - since


def test_service_with_remote_keys_alone_does_not_start() -> None:
    remote = {"JWKS_URL": "https://id.test/jwks", "JWT_ISSUER": "https://id.test/"}
    ended = subprocess.run(
        [sys.executable, "-m", "trunkline.serving", "sla"], check=False, text=True,
        capture_output=True, env={**os.environ, **remote}, timeout=20,
    )  # fmt: skip

    assert ended.returncode == 1
    assert ended.stderr == (
        "trunkline serve: JWT_AUDIENCE must be set, because JWKS_URL is https://id.test/jwks\n"
    )


def test_a_request_in_flight_is_answered_before_the_end() -> None:
    port = free_port()
    process = started(port)
    asking = subprocess.Popen(
        [sys.executable, "-c", f"import httpx; print(httpx.get('http://127.0.0.1:{port}/slow').json())"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    while process.stdout.readline() != "asked\n":
        assert process.poll() is None
        if asking.poll() is not None:  # it asked before anybody listened
            asking = subprocess.Popen(asking.args, stdout=subprocess.PIPE, text=True)
    said, _ = told_to_stop(process)

    assert asking.communicate(timeout=10)[0] == "answered\n"
    assert (process.returncode, said) == (0, "ended\n")


def test_a_stream_that_never_ends_is_cut() -> None:
    port = free_port()
    process = started(port)
    soon(lambda: httpx.get(f"http://127.0.0.1:{port}/openapi.json").status_code == 200)
    with httpx.stream("GET", f"http://127.0.0.1:{port}/stream") as stream:
        next(stream.iter_raw())
        said, seconds = told_to_stop(process)

    assert (process.returncode, said) == (0, "ended\n")
    assert seconds < 8


def test_what_has_not_begun_ends_at_once() -> None:
    process = started(free_port(), "never")
    _, seconds = told_to_stop(process)

    assert process.returncode == 0
    assert seconds < 5


def test_too_few_file_descriptors_are_refused() -> None:
    few = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))\n"
    words = [sys.executable, "-c", few + SLOWLY]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)

    assert done.returncode == 1
    assert "RLIMIT_NOFILE is 200; it must be 256 or more" in done.stderr
