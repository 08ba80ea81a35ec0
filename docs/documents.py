"""The services' AsyncAPI and OpenAPI documents, generated from the services themselves.

`python docs/documents.py` writes them; with `--check` it only compares.
"""

import asyncio
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SERVICES = ("ingest", "routing", "tickets", "sla", "notify")


def texts() -> dict[str, str]:
    """Return every document, by its path below this folder."""
    os.environ["INBOUND_KEY"] = "what a service keeps secret is not in its documents"
    return asyncio.run(_texts())


async def _texts() -> dict[str, str]:
    documents: dict[str, Any] = {}
    for name in SERVICES:
        app = importlib.import_module(f"{name}.app").app
        documents[f"openapi/{name}.json"] = app.openapi()
        documents[f"asyncapi/{name}.json"] = app.state.described()
    return {
        path: json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        for path, document in documents.items()
    }


def main(arguments: list[str]) -> int:
    """Write the documents, or with `--check` name those that are out of date."""
    wanted = texts()
    found = {
        f"{path.parent.name}/{path.name}": path.read_text("utf-8")
        for path in (*HERE.glob("asyncapi/*.json"), *HERE.glob("openapi/*.json"))
    }
    stale = sorted(path for path in wanted | found if wanted.get(path) != found.get(path))
    if "--check" in arguments:
        for path in stale:
            print(f"docs/{path} is out of date; run `make docs`")
        return 1 if stale else 0
    for path in stale:
        (HERE / path).parent.mkdir(exist_ok=True)
        if path in wanted:
            (HERE / path).write_text(wanted[path], "utf-8")
        else:
            (HERE / path).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
