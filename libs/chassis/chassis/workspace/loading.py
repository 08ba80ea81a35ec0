"""Reading a workspace: YAML without surprises, and errors a person can act upon."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from chassis.workspace.document import Workspace
from chassis.workspace.references import complaints


class Invalid(Exception):
    """The workspace cannot be accepted; each line names a path and what is wrong there."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = list(lines)
        super().__init__("\n".join(self.lines))


def load(text: str) -> Workspace:
    """Read and check a workspace; raises `Invalid` with every complaint at once."""
    try:
        raw = YAML(typ="safe", pure=True).load(text)
    except YAMLError as why:
        told = str(why).partition("To suppress this check")[0]
        raise Invalid([f"not YAML: {' '.join(told.split())}"]) from None
    if not isinstance(raw, dict):
        raise Invalid(["a workspace is a mapping of names to values"])
    return check(raw)


def check(raw: Mapping[str, Any]) -> Workspace:
    """Check a workspace already parsed."""
    try:
        workspace = Workspace.model_validate(raw)
    except ValidationError as why:
        raise Invalid(_line(error) for error in why.errors(include_url=False)) from None
    if wrong := list(complaints(workspace)):
        raise Invalid(wrong)
    return workspace


def _line(error: Any) -> str:
    path = ".".join(str(part) for part in error["loc"] if part != "[key]")
    limits = {k: v for k, v in (error.get("ctx") or {}).items() if k in {"expected", "pattern", "ge", "gt", "le", "lt"}}
    said = str(error["msg"]).removeprefix("Value error, ")
    value = error.get("input")
    shown = f" (value {_shown(value)}" if not isinstance(value, dict) else ""
    allowed = f"; allowed: {', '.join(map(str, limits.values()))}" if limits else ""
    return f"{path}: {said}{shown}{allowed}{')' if shown else ''}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
