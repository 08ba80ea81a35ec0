"""From text to a workspace that holds together, or to everything that is wrong; and differences."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from trunkline_workspace.checks import check, complaint
from trunkline_workspace.document import Workspace


class Invalid(ValueError):
    """The workspace is not right; `problems` says where and why, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(text: str) -> Workspace:
    """Read a workspace from YAML (or JSON); raises `Invalid` with every complaint there is."""
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except YAMLError as why:
        mark = getattr(why, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "the document"
        raise Invalid([complaint(where, f"not YAML: {getattr(why, 'problem', why)}")]) from None
    if not isinstance(document, dict):
        raise Invalid(["the document: must be a mapping of keys"])
    workspace = parse(document)
    if problems := check(workspace):
        raise Invalid(problems)
    return workspace


def parse(document: dict[str, Any]) -> Workspace:
    """Read a document's shape only, as it was checked when it was applied."""
    try:
        return Workspace.model_validate(document)
    except ValidationError as why:
        raise Invalid(list(dict.fromkeys(_complaints(why)))) from None


NOISE = ("function-", "list[", "constrained-str", "literal[", "[key]")
"""Parts of pydantic's paths that are not keys of the document."""

SECRETS = ("secret", "token", "verify_token", "password")


def _complaints(why: ValidationError) -> Iterator[str]:
    for error in why.errors(include_url=False):
        path = [str(part) for part in error["loc"] if not str(part).startswith(NOISE)]
        value = ... if {*path} & {*SECRETS} else error["input"]
        if error["type"] == "list_type" and isinstance(error["input"], str):
            continue  # the other half of "one or several", already told
        what, allowed = _told(error["type"], error["msg"], error.get("ctx", {}))
        if error["type"] in {"missing", "extra_forbidden"}:
            value = ...
        yield complaint(".".join(path) or "the document", what, value, allowed)


def _told(kind: str, message: str, context: dict[str, Any]) -> tuple[str, list[str] | None]:
    match kind:
        case "extra_forbidden":
            return "is not a key here", None
        case "missing":
            return "is missing", None
        case "literal_error":
            return "not allowed", [str(context["expected"]).replace(" or ", ", ")]
        case "string_pattern_mismatch":
            return "not of the right form", [context["pattern"]]
        case "value_error":
            return str(context["error"]), None
        case _:
            return message.removeprefix("Input "), None


def diff(old: Workspace | None, new: Workspace) -> list[str]:
    """Give what changed, a line each: `+` came, `-` went, `~` is another."""
    before = dict(_leaves(old.document())) if old else {}
    after = dict(_leaves(new.document()))
    lines = []
    for path in [*before, *(path for path in after if path not in before)]:
        if path not in after:
            lines.append(f"- {path}: {before[path]!r}")
        elif path not in before:
            lines.append(f"+ {path}: {after[path]!r}")
        elif before[path] != after[path]:
            lines.append(f"~ {path}: {before[path]!r} → {after[path]!r}")
    return lines


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}.{item.get('name', number)}")
    else:
        yield path, value
