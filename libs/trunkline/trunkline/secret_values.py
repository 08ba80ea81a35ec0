"""The secrets a workspace refers to, made up once and kept in `DATA/secrets.env`."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from trunkline.tokens import write_private


def references(document: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, bool]]:
    """Every `env:NAME` of a workspace, and whether it has the form of Standard Webhooks."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from references(value, (*path, str(key)))
    elif isinstance(document, list):
        for value in document:
            yield from references(value, path)
    elif isinstance(document, str) and document.startswith("env:"):
        webhook = path[0] == "webhooks" or path[:2] == ("channels", "custom")
        yield document.removeprefix("env:"), webhook and path[-1] == "secret"


def _made_up(name: str, webhook: bool) -> str:  # noqa: FBT001  one place, one caller
    if webhook:
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    if name.startswith("TELEGRAM_") and name.endswith("_TOKEN"):
        return f"{secrets.randbelow(10**9) + 10**9}:{secrets.token_urlsafe(26)}"
    return secrets.token_urlsafe(32)


def read(file: Path) -> dict[str, str]:
    """The `KEY=value` lines of a file; nothing when there is none."""
    if not file.exists():
        return {}
    lines = (line.strip() for line in file.read_text().splitlines())
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, value in pairs}


def ensure(file: Path, workspace: object, further: tuple[str, ...] = ()) -> dict[str, str]:
    """Give every secret the workspace refers to a value, and keep those that have one.

    What the environment knows is taken from there, so that a real secret can be given, and later
    another one: the file always says what is in force.
    """
    before = read(file)
    wanted = dict(references(workspace)) | dict.fromkeys(further, False)
    known = before | {
        name: os.environ.get(name) or before.get(name) or _made_up(name, webhook)
        for name, webhook in sorted(wanted.items())
    }
    if known != before or not file.exists():
        write_private(file, "".join(f"{k}={v}\n" for k, v in known.items()))
    return known
