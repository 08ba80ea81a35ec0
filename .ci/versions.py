"""Check that versions match the newest changelog entries and that pins are `name==version`."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+")


def find_violations() -> list[str]:
    """Return the violations found."""
    violations = []
    for folder in (ROOT, ROOT / "libs" / "contracts"):
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        changelog = folder / "CHANGELOG.md"
        newest = re.search(r"^## (\d\S*)", changelog.read_text("utf-8"), re.MULTILINE)
        if not newest or newest[1] != project["version"]:
            violations.append(
                f"{changelog.relative_to(ROOT)}: the newest entry is"
                f" {newest[1] if newest else 'missing'}, the version is {project['version']}"
            )
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    violations += [
        f"requirements.lock:{number}: {line!r} is not name==version"
        for number, line in enumerate(lines, 1)
        if not PIN.fullmatch(line)
    ]
    return violations


if __name__ == "__main__":
    violations = find_violations()
    print("\n".join(violations))
    sys.exit(bool(violations))
