"""Read a workspace from text, report every problem, and compare two versions."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from trunkline_workspace.channels import ACCOUNT_KEYS
from trunkline_workspace.checks import check, problem
from trunkline_workspace.document import Workspace


class InvalidWorkspace(ValueError):
    """A workspace was refused; `problems` has one line for each reason, with its path."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(text: str) -> Workspace:
    """Return the workspace in a YAML or JSON text.

    Raises `InvalidWorkspace` with all problems: of the shape, or else of the rules across sections.
    """
    try:
        document = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "the document"
        raise InvalidWorkspace(
            [problem(where, f"not YAML: {getattr(error, 'problem', error)}")]
        ) from None
    if not isinstance(document, dict):
        raise InvalidWorkspace(
            [f"the document: must be a mapping of keys, not a {type(document).__name__}"]
        )
    workspace = parse(document)
    if problems := check(workspace):
        raise InvalidWorkspace(problems)
    return workspace


def parse(document: dict[str, Any]) -> Workspace:
    """Return the workspace of a document, checking its shape only.

    For documents that were checked when they were applied. Raises `InvalidWorkspace`.
    """
    try:
        return Workspace.model_validate(document)
    except ValidationError as error:
        raise InvalidWorkspace(list(dict.fromkeys(_problems(error)))) from None


HIDDEN_PATH_PARTS = ("function-", "list[", "constrained-str", "literal[", "[key]")
"""Prefixes of path parts that pydantic adds; they are not keys of the document."""

SECRET_KEYS = ("secret", "token", "verify_token", "password")
"""Keys whose values are never shown."""


def _problems(errors: ValidationError) -> Iterator[str]:
    for error in errors.errors(include_url=False):
        path = [str(part) for part in error["loc"] if not str(part).startswith(HIDDEN_PATH_PARTS)]
        value = ... if {*path} & {*SECRET_KEYS} else error["input"]
        if error["type"] == "list_type" and isinstance(error["input"], str):
            continue  # one value or several: the error of the single value is enough
        what, allowed = _describe(error["type"], error["msg"], error.get("ctx", {}))
        if error["type"] == "extra_forbidden":
            allowed = _keys_at(error["loc"][:-1])
        if error["type"] in {"missing", "extra_forbidden"}:
            value = ...
        yield problem(".".join(path) or "the document", what, value, allowed)


def _describe(kind: str, message: str, context: dict[str, Any]) -> tuple[str, list[str] | None]:
    """Return the sentence of a pydantic error, and the allowed values if it names them."""
    match kind:
        case "extra_forbidden":
            return "is not a key here", None
        case "missing":
            return "is missing", None
        case "literal_error":
            return "is not allowed", [str(context["expected"]).replace(" or ", ", ")]
        case "string_pattern_mismatch":
            return "does not match the pattern", [context["pattern"]]
        case "value_error":
            return str(context["error"]), None
        case _:
            return message.removeprefix("Input "), None


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the section at this place of the document."""
    if location[:1] == ("channels",):
        return sorted({key for keys in ACCOUNT_KEYS[str(location[1])] for key in keys})
    schema = Workspace.model_json_schema()
    section = schema
    for part in location:
        inner = [
            section.get("properties", {}).get(part),
            section.get("items"),
            section.get("additionalProperties"),
            *section.get("patternProperties", {}).values(),
        ]
        section = next(found for found in inner if found)
        if "$ref" in section:
            section = schema["$defs"][section["$ref"].rpartition("/")[2]]
    return sorted(section["properties"])


def diff(old: Workspace | None, new: Workspace) -> list[str]:
    """Return one line for each change: `+` added, `-` removed, `~` changed."""
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
