"""The secrets a workspace refers to, generated once and stored in `DATA/secrets.env`."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from trunkline.tokens import write_private


def references(document: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, bool]]:
    """Return every `env:NAME` of a workspace, and whether it is a Standard Webhooks secret."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield from references(value, (*path, str(key)))
    elif isinstance(document, list):
        for value in document:
            yield from references(value, path)
    elif isinstance(document, str) and document.startswith("env:"):
        webhook = path[0] == "webhooks" or path[:2] == ("channels", "custom")
        yield document.removeprefix("env:"), webhook and path[-1] == "secret"


def _generate(name: str, webhook: bool) -> str:  # noqa: FBT001 (one caller)
    if webhook:
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    if name.startswith("TELEGRAM_") and name.endswith("_TOKEN"):
        return f"{secrets.randbelow(10**9) + 10**9}:{secrets.token_urlsafe(26)}"
    return secrets.token_urlsafe(32)


def read(file: Path) -> dict[str, str]:
    """Return the `KEY=value` lines of a file; empty without a file."""
    if not file.exists():
        return {}
    lines = (line.strip() for line in file.read_text().splitlines())
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, value in pairs}


def ensure(file: Path, workspace: object, extra_names: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the values of all secrets the workspace refers to; generate missing ones.

    A value in the environment overrides the stored one, so that real secrets can be supplied and
    replaced. The file always contains the values in force.
    """
    before = read(file)
    names = dict(references(workspace)) | dict.fromkeys(extra_names, False)
    values = before | {
        name: os.environ.get(name) or before.get(name) or _generate(name, webhook)
        for name, webhook in sorted(names.items())
    }
    if values != before or not file.exists():
        write_private(file, "".join(f"{k}={v}\n" for k, v in values.items()))
    return values
