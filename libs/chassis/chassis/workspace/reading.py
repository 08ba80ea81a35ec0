"""From text to a workspace that holds together, or to a list of everything that is wrong with it; and differences."""

from collections.abc import Hashable, Iterator
from typing import Any

import yaml
from pydantic import ValidationError

from chassis.workspace.checks import check, complaint
from chassis.workspace.document import Workspace


class Invalid(ValueError):
    """The workspace is not right; `problems` says where and why, one line each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice, instead of forgetting the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002  yaml's own signature
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    line = key.start_mark.line + 1
                    raise Invalid([complaint(f"line {line}", "the key is there twice", key.value)])
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(text: str) -> Workspace:
    """Read a workspace from YAML (or JSON); raises `Invalid` with every complaint there is."""
    try:
        document = yaml.load(text, _Loader)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as why:
        mark = getattr(why, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "the document"
        what = getattr(why, "problem", None) or str(why)
        raise Invalid([complaint(where, f"not YAML: {what}")]) from None
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


SKIPPED = ("function-", "list[", "constrained-str", "literal[", "str", "[key]")


def _complaints(why: ValidationError) -> Iterator[str]:
    for error in why.errors(include_url=False):
        path = [str(part) for part in error["loc"] if not str(part).startswith(SKIPPED)]
        where = ".".join(path) or "the document"
        match error["type"]:
            case "extra_forbidden":
                yield complaint(where, "is not a key here")
            case "missing":
                yield complaint(where, "is missing")
            case "literal_error":
                allowed = [str(error["ctx"]["expected"]).replace(" or ", ", ")]
                yield complaint(where, "not allowed", error["input"], allowed)
            case "string_pattern_mismatch":
                pattern = error["ctx"]["pattern"]
                yield complaint(where, "not of the right form", error["input"], [pattern])
            case "value_error":
                yield complaint(where, str(error["ctx"]["error"]), error["input"])
            case _:
                yield complaint(where, error["msg"].removeprefix("Input "), error["input"])


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
