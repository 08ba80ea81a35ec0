"""The public surface equals the committed lists: types, Python names, schemas."""

import re
import shutil
from pathlib import Path

import pytest

import trunkline_contracts
from trunkline_contracts import BY_NAME
from trunkline_contracts.schema import main, stale_files

from .paths import SCHEMAS, SNAPSHOTS


@pytest.mark.parametrize(
    ("snapshot", "names"),
    [("wire.txt", sorted(BY_NAME)), ("python.txt", sorted(trunkline_contracts.__all__))],
    ids=["wire", "python"],
)
def test_names_equal_the_committed_list(snapshot: str, names: list[str]) -> None:
    assert names == (SNAPSHOTS / snapshot).read_text("utf-8").split()


def test_public_names_exist() -> None:
    public = {name for name in vars(trunkline_contracts) if not name.startswith("_")}

    assert set(trunkline_contracts.__all__) <= public


def test_schemas_equal_the_classes() -> None:
    assert stale_files(SCHEMAS) == []


def test_stale_schema_is_reported_and_rewritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(SCHEMAS, tmp_path / "schemas"))
    changed = folder / "trunkline.tickets.v1.opened.json"
    changed.write_text(re.sub("follow_up_of", "follows", changed.read_text("utf-8")), "utf-8")
    (folder / "trunkline.tickets.v1.unheard_of.json").write_text("{}", "utf-8")
    (folder / "trunkline.tickets.v1.closed.json").unlink()

    assert main(["--check", str(folder)]) == 1
    output = capsys.readouterr().out
    assert [
        name for name in ("opened", "unheard_of", "closed") if f".{name}.json" not in output
    ] == []

    assert main([str(folder)]) == 0
    assert stale_files(folder) == []
    assert main(["--check", str(folder)]) == 0
