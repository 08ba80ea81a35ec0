"""The contracts go out alone: their wheel needs pydantic and nothing of Trunkline's."""

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

READ_A_LETTER = """
import sys
from importlib.metadata import distributions
from pathlib import Path
from trunkline_contracts import read
print(read(Path(sys.argv[1]).read_bytes()).type)
print(*(found.name.lower().replace("_", "-") for found in distributions()))
"""


def run(*words: str | Path) -> str:
    """Run a command; its complaint is the test's failure."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """A Python that knows nothing but its standard library."""
    venv.create(tmp_path / "venv", with_pip=False)
    return tmp_path / "venv" / "bin" / "python"


def test_the_wheel_installs_alone_and_reads_a_letter(clean: Path, tmp_path: Path) -> None:
    here = sys.executable
    run(here, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, CONTRACTS)
    (wheel,) = tmp_path.glob("trunkline_contracts-*.whl")
    pins = ["--constraint", ROOT / "requirements.lock"]
    run(here, "-m", "pip", "--python", clean, "install", "--quiet", *pins, wheel)

    said, found = run(clean, "-I", "-c", READ_A_LETTER, LETTERS[0]).splitlines()

    assert said == json.loads(LETTERS[0].read_text("utf-8"))["type"]
    assert set(found.split()) == ALONE
