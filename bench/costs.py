"""Processor time and memory (proportional set size) of processes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import psutil

PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class Cost:
    """Seconds of processor time so far, and resident bytes, by name."""

    cpu: dict[str, float]
    pss: dict[str, int]


def cost(pids: dict[str, list[int]]) -> Cost:
    """Return the cost of processes and their children."""
    cpu: dict[str, float] = {}
    pss: dict[str, int] = {}
    for name, roots in pids.items():
        family = [
            p
            for pid in roots
            for p in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))
        ]
        cpu[name], pss[name] = 0.0, 0
        for process in family:
            try:
                times = process.cpu_times()
                rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            except (psutil.NoSuchProcess, OSError):
                continue
            # The time of ended children is added to the parent when it reaps them.
            cpu[name] += times.user + times.system + times.children_user + times.children_system
            found = PSS.search(rollup)
            pss[name] += int(found[1]) * 1024 if found else 0
    return Cost(cpu, pss)


def percentile(values: list[float], p: float) -> float:
    """Return the `p`th percentile of the values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))]
