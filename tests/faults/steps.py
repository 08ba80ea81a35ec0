"""Read the steps of a restore from docs/operations.md and run them as written."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
STEP_TIMEOUT_S = 120


def steps(heading: str) -> list[str]:
    """Return the commands under a heading of docs/operations.md, one per line of its sh blocks.

    Raises LookupError when the heading is missing or has no commands.
    """
    text = OPERATIONS.read_text(encoding="utf-8")
    pattern = rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)"
    section = re.search(pattern, text, re.MULTILINE | re.DOTALL)
    blocks = (
        re.findall(r"^```sh\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL) if section else []
    )
    commands = [line for block in blocks for line in block.splitlines() if line.strip()]
    if not commands:
        raise LookupError(f"docs/operations.md has no commands under {heading!r}")
    return commands


def run_step(command: str, variables: Mapping[str, str]) -> str:
    """Run one command with these shell variables; return its output, raise when it fails."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=STEP_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout
