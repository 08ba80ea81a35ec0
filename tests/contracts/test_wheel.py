"""The wheel of the contracts needs pydantic and no other package of Trunkline."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from .paths import CONTRACTS, LETTERS, ROOT

ALONE = {
    "annotated-types",
    "pydantic",
    "pydantic-core",
    "trunkline-contracts",
    "typing-extensions",
    "typing-inspection",
}

READ_A_MESSAGE = """
import sys
from importlib.metadata import distributions
from pathlib import Path
from trunkline_contracts import read
print(read(Path(sys.argv[1]).read_bytes()).type)
print(*(found.name.lower().replace("_", "-") for found in distributions()))
"""


def run(*words: str | Path) -> str:
    """Run a command and return its output; fail with its errors."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """Return a Python with only its standard library."""
    venv.create(tmp_path / "venv", with_pip=False)
    return tmp_path / "venv" / "bin" / "python"


def test_wheel_installs_alone_and_reads_a_message(clean: Path, tmp_path: Path) -> None:
    python = sys.executable
    run(python, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, CONTRACTS)
    (wheel,) = tmp_path.glob("trunkline_contracts-*.whl")
    pins = ["--constraint", ROOT / "requirements.lock"]
    run(python, "-m", "pip", "--python", clean, "install", "--quiet", *pins, wheel)

    type_, found = run(clean, "-I", "-c", READ_A_MESSAGE, LETTERS[0]).splitlines()

    assert type_ == json.loads(LETTERS[0].read_text("utf-8"))["type"]
    assert set(found.split()) == ALONE
