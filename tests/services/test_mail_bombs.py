"""The whole corpus in the process mails are taken apart in: what it costs there, measured."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from mail_corpus import cases
from mailing import raw

from ingest.channels.email import parser_worker
from ingest.channels.email.parser_pool import Desk, Ended

VERDICTS = {
    parser_worker.ITEMS: "read",
    parser_worker.UNREADABLE: "rejected",
    parser_worker.EXCESSIVE: "parked",
    parser_worker.BROKEN: "broken",
}
SECONDS, MEMORY = 5.0, 256 * 1024 * 1024

NAIVE = """
import resource, sys
from email import message_from_bytes
from email.policy import default
body = sys.stdin.buffer.read()
resource.setrlimit(resource.RLIMIT_AS, (%d, %d))
resource.setrlimit(resource.RLIMIT_CPU, (%d, %d))
mail = message_from_bytes(body, policy=default)
for name in ("from", "to", "subject", "content-type"):
    str(mail[name])
for part in mail.walk():
    part.get_content_type()
"""
"""Takes a mail apart as Python does, with as much memory and time as ours may take."""


def processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int, name: str) -> int:
    [line] = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines()
              if each.startswith(f"{name}:")]  # fmt: skip
    return int(line.split()[1]) * 1024


async def test_no_mail_of_the_corpus_costs_much() -> None:
    desk = await Desk.open()
    pid, wrong, slowest, parked = desk._process.pid, [], 0.0, 0
    try:
        for kind, found in cases().items():
            for case in found:
                before = processor_time(pid)
                try:
                    answer, _ = await asyncio.wait_for(desk.work(raw(case.body)), 20)
                except Ended:
                    raise AssertionError(f"{kind}: {case.name} ended its reader") from None
                slowest = max(slowest, processor_time(pid) - before)
                parked += VERDICTS[answer] == "parked"
                if VERDICTS[answer] != case.verdict:
                    wrong.append(f"{kind}: {case.name} was {VERDICTS[answer]}")
        peak, mapped = memory(pid, "VmHWM"), memory(pid, "VmPeak")
    finally:
        await desk.close()

    assert not wrong
    assert parked > 50
    assert slowest < SECONDS
    assert peak < MEMORY
    assert mapped <= MEMORY


async def test_without_looking_first_a_bomb_takes_all_there_is() -> None:
    code = NAIVE % (MEMORY, MEMORY, parser_worker.SECONDS, parser_worker.SECONDS)
    [bomb] = [c for c in cases()["headers"] if c.name == "20000 encoded words"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", code, stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate(bomb.body)

    assert process.returncode == -signal.SIGXCPU or b"MemoryError" in said
