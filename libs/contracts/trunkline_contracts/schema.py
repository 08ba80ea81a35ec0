"""JSON Schemas of the wire form, one per fact, for readers in other languages.

`python -m trunkline_contracts.schema DIR` writes them; with `--check` it only compares.
"""

import json
import sys
from pathlib import Path
from typing import Any

from trunkline_contracts import BY_NAME, Fact, wire_name
from trunkline_contracts.fact import ENVELOPE

_REQUIRED = ["specversion", "id", "source", "type", "subject", "time", "sequence", "data"]


def schema_of(kind: type[Fact]) -> dict[str, Any]:
    """Return the schema of one fact on the wire: the envelope and `data`."""
    flat = kind.model_json_schema(by_alias=False)
    name = kind.name()
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        "description": flat["description"],
        "type": "object",
        "properties": _envelope(name) | {"data": _data(kind, flat)},
        "required": _REQUIRED,
    }
    if "$defs" in flat:
        schema["$defs"] = flat["$defs"]
    return schema


def _envelope(name: str) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1}
    return {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "format": "uuid"},
        "source": {"const": f"trunkline/{name.split('.')[1]}"},
        "type": {"const": name},
        "subject": text,
        "time": {"type": "string", "format": "date-time"},
        "sequence": {"type": "integer", "minimum": 1},
        "datacontenttype": {"const": "application/json"},
        "workspace": {"type": "integer", "minimum": 1},
        "traceparent": text,
        "correlationid": text,
        "causationid": text,
    }


def _data(kind: type[Fact], flat: dict[str, Any]) -> dict[str, Any]:
    left_out = ENVELOPE | kind.only_in_envelope
    return {
        "type": "object",
        "properties": {
            wire_name(field): shape
            for field, shape in flat["properties"].items()
            if field not in left_out
        },
        "required": [wire_name(field) for field in flat["required"] if field not in left_out],
    }


def schema_texts() -> dict[str, str]:
    """Return the text of every schema, by file name."""
    return {
        f"{name}.json": json.dumps(schema_of(kind), indent=2, ensure_ascii=False) + "\n"
        for name, kind in BY_NAME.items()
    }


def stale_files(folder: Path) -> list[str]:
    """Return the files of a folder that differ from the classes, with missing and extra ones."""
    expected = schema_texts()
    committed = {path.name: path.read_text("utf-8") for path in folder.glob("*.json")}
    return sorted(n for n in expected | committed if expected.get(n) != committed.get(n))


def main(arguments: list[str]) -> int:
    """Write the schemas into a folder; with `--check`, return 1 if any file differs."""
    check = "--check" in arguments
    folder = Path(next(argument for argument in arguments if argument != "--check"))
    names = stale_files(folder)
    if check:
        for name in names:
            print(f"{folder / name} differs from the classes; run `make schemas`")
        return 1 if names else 0
    folder.mkdir(parents=True, exist_ok=True)
    expected = schema_texts()
    for name in names:
        if name in expected:
            (folder / name).write_text(expected[name], "utf-8")
        else:
            (folder / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
