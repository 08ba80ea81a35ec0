"""A file past 150 lines says in its docstring why it is long; tests and benchmarks need not."""

import ast
import re
import sys
from pathlib import Path

MOST = 150
LONG = re.compile(r"\b[Ll]ong(er)?\b")


def main() -> int:
    """Name those that do not."""
    found = 0
    for path in sorted(file for room in ("services", "libs") for file in Path(room).rglob("*.py")):
        text = path.read_text()
        if text.count("\n") > MOST and not LONG.search(ast.get_docstring(ast.parse(text)) or ""):
            print(f"{path} has more than {MOST} lines and does not say why it is long")
            found = 1
    return found


if __name__ == "__main__":
    sys.exit(main())
