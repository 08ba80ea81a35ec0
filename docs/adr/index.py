"""Check the decisions in this folder, and write their index to README.md; `--check` compares."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
README = HERE / "README.md"
MARK = "<!-- generated from here on: make docs -->\n"
STATUS = re.compile(r"accepted|superseded by \d{4}|deprecated")
SHAPE = re.compile(
    r"# (?P<number>\d{4})\. (?P<title>.+)\n\n"
    r"\| Date \| Status \|\n\|---\|---\|\n\| (?P<date>\d{4}-\d\d-\d\d) \| (?P<status>.+) \|\n\n"
    r"## Context\n\n.+\n\n## Decision\n\n.+\n\n## Consequences\n\n.+",
    re.DOTALL,
)


def index() -> str:
    """Return the table of all decisions; raise ValueError for a file of another form."""
    rows = ["| | decision | date | status |", "|---|---|---|---|"]
    for expected, path in enumerate(sorted(HERE.glob("[0-9]*.md")), 1):
        match = SHAPE.fullmatch(path.read_text("utf-8").rstrip("\n"))
        if match is None:
            raise ValueError(
                f"{path.name}: wanted '# NNNN. Title', a table of date and status,"
                " then Context, Decision and Consequences"
            )
        number, title, date, status = match.group("number", "title", "date", "status")
        if number != f"{expected:04d}" or not path.name.startswith(f"{number}-"):
            raise ValueError(f"{path.name}: the number should be {expected:04d}, here and inside")
        if not STATUS.fullmatch(status):
            raise ValueError(f"{path.name}: {status!r} is not accepted, superseded or deprecated")
        rows.append(f"| {number} | [{title}]({path.name}) | {date} | {status} |")
    return "\n".join(rows) + "\n"


def main(arguments: list[str]) -> int:
    """Write the index into README.md, or with `--check` report that it is out of date."""
    try:
        table = index()
    except ValueError as error:
        print(error)
        return 1
    text = README.read_text("utf-8")
    wanted = text.partition(MARK)[0] + MARK + "\n" + table
    if text == wanted:
        return 0
    if "--check" in arguments:
        print("docs/adr/README.md is out of date; run `make docs`")
        return 1
    README.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
