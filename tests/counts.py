"""Counts of test inputs in docs/channels.md: `tests/counts.py` writes them, `--check` compares.

Each number is counted from the inputs of a test; the test fails if it runs fewer.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import mail_corpus
from corpus import cases, how_many
from entrances import entrances
from fuzzing import FEW, MANY
from mail_corpus.belonging import EVERY, SEVERAL, VERDICTS
from mail_corpus.clients import CLIENTS
from mail_corpus.door import ENDS, SAID, TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parent.parent / "docs" / "channels.md"
BEGIN, END = "<!-- generated from here on: make docs -->\n", "<!-- until here -->\n"
NAMES = {
    "custom": "custom, ConnectiveOne's form", "form": "form", "widget": "web widget",
    "telephony": "telephony", "whatsapp": "WhatsApp",
}  # fmt: skip


def page() -> str:
    """Return the generated part of the page."""
    counts: Counter[tuple[str, int]] = Counter()
    channels: Counter[str] = Counter()
    for case in cases():
        channels[case.channel] += 1
        for which, number in enumerate(how_many(case)):
            counts[case.channel, which] += number
    rows = [
        (NAMES.get(channel, channel.capitalize()), files, counts[channel, 0], counts[channel, 1])
        for channel, files in sorted(channels.items())
    ]
    rows.append(("all", *(sum(row[place] for row in rows) for place in (1, 2, 3))))
    doors = entrances()
    attempts = sum(1 for each in doors for _ in each.attempts())
    return "\n".join((
        f"- Invalid secrets, tokens and signatures: {attempts:,} at {len(doors)} addresses.",
        "- Requests generated from the OpenAPI documents: in `make test` more than"
        f" {FEW[0]:,} to ingest and {FEW[1]:,} to the others; in `make soak`, {MANY[0]:,} and"
        f" {MANY[1]:,}.",
        *mails(),
        "- Messages:",
        "",
        "| channel | sample types | a field missing, of another type, too long | corrupted bytes |",
        "|---|---|---|---|",
        *(f"| {name} | {files:,} | {near:,} | {broken:,} |" for name, files, near, broken in rows),
        "",
    ))  # fmt: skip


def mails() -> Iterator[str]:
    """Count e-mail inputs, by class."""
    found = mail_corpus.cases()
    number = sum(map(len, found.values()))
    parked = sum(case.verdict == "parked" for each in found.values() for case in each)
    classes = ", ".join(f"{name} {len(each)}" for name, each in found.items())
    yield (
        f"- E-mail: {number} ({classes}), {parked} of them above a limit; all of them in the"
        " confined parser process, under 5 s and 256 MB each."
    )
    told = len(VERDICTS) + len(SEVERAL)
    yield (
        f"- Threading: {len(EVERY)} combinations of references, {told} authentication results;"
        f" {len(CLIENTS)} forms of quotation; {len(ENDS) + len(TEXTS) + len(SAID)} SMTP sessions."
    )


def main(arguments: list[str]) -> int:
    """Write the counts, or with `--check` report that they are out of date."""
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    wanted = before + BEGIN + "\n" + page() + END + rest.partition(END)[2]
    if text == wanted:
        return 0
    if "--check" in arguments:
        print("docs/channels.md is out of date; run `make docs`")
        return 1
    PAGE.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
