"""What is shown is run: the journey's commands, against an instance of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from desk import running_desk

if TYPE_CHECKING:
    from desk import Desk

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
ADDRESS = re.compile(r"127\.0\.0\.1:8(\d{3})")


def blocks(page: str) -> list[str]:
    """Give a page's commands."""
    return BLOCK.findall((ROOT / page).read_text())


def played(desk: Desk, page: str) -> subprocess.CompletedProcess[str]:
    """Run a page's commands in one shell, at this instance's ports and data."""
    script = "\n".join(blocks(page))
    script = ADDRESS.sub(lambda found: f"127.0.0.1:{desk.base + int(found[1])}", script)
    script = script.replace(".trunkline/", f"{desk.data}/")
    trunkline = f'trunkline() {{ "{sys.executable}" -m trunkline "$@" --data "{desk.data}"; }}'
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{trunkline}\n{script}"],
        text=True,
        capture_output=True,
        env={**os.environ, "TZ": "UTC"},
        timeout=60,
        check=False,
    )


def test_the_journey_happens_as_it_is_told(tmp_path: Path) -> None:
    with running_desk(tmp_path / "data") as desk:
        done = played(desk, "docs/journey.md")
        assert done.returncode == 0, done.stdout + done.stderr
        assert '"anna"' in done.stdout
        request_id = re.search(r'"request_id": ?"([0-9a-f-]{36})"', done.stdout)
        assert request_id is not None
        assert desk.request(request_id[1])["status"] == "closed"


def test_every_file_the_first_page_names_is_there() -> None:
    page = (ROOT / "README.md").read_text()
    named = re.findall(r"`((?:services|libs|docs)/[\w./-]+)`", page)
    named += re.findall(r"\]\(([\w./-]+)\)", page)
    missing = [name for name in named if not (ROOT / name).exists()]

    assert len(named) > 8
    assert missing == []
