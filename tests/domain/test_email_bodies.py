"""What a mail says, out of its parts: all of it, once, and what is left out is told."""

from __future__ import annotations

import pytest
from mail_corpus import HEAD
from mailing import read

from ingest.channels.email import bodies
from ingest.domain.items import Item

KINDS = {"p": "text/plain", "h": "text/html"}


def part(tree: str | tuple[object, ...], level: int = 0) -> str:
    """Write a part: `p:text`, `h:markup`, a file `f`, or (kind of multipart, part, …)."""
    if isinstance(tree, str):
        if tree == "f":
            return "Content-Type: image/png\r\nContent-Disposition: attachment\r\n\r\nx"
        kind, _, text = tree.partition(":")
        return f"Content-Type: {KINDS[kind]}; charset=utf-8\r\n\r\n{text}"
    kind, *inner = tree
    mark = f"b{level}"
    told = "".join(f"--{mark}\r\n{part(each, level + 1)}\r\n" for each in inner)  # type: ignore[arg-type]
    return f'Content-Type: multipart/{kind}; boundary="{mark}"\r\n\r\n{told}--{mark}--\r\n'


def taken(tree: str | tuple[object, ...]) -> Item:
    return read(HEAD + part(tree).encode())


SCANNED = "p:-- Scanned by AV"
SAID = {
    "a scanner's footer": (("mixed", "h:<p>Hello</p>", SCANNED), "Hello\n\n-- Scanned by AV"),
    "a list's footer": (
        ("mixed", ("alternative", "p:Hello", "h:<b>Hello</b>"), "p:-- The list"),
        "Hello\n\n-- The list",
    ),
    "above a file": (("mixed", "p:See here", "f", "h:<p>and here</p>"), "See here\n\nand here"),
    "pages in a row": (("mixed", "h:<p>one", "h:<p>two"), "one\n\ntwo"),
    "plain of two": (("alternative", "p:plain", "h:<p>other"), "plain"),
    "plain of two, in whatever order": (("alternative", "h:<p>other", "p:plain"), "plain"),
    "an empty plain one": (("alternative", "p: ", "h:<p>page"), "page"),
    "with a picture": (("alternative", "p:plain", ("related", "h:<p>page", "f")), "plain"),
    "related alone": (("related", "h:<p>page", "f"), "page"),
    "a file between pages": (
        ("alternative", "p:one two", ("mixed", "h:<p>one", "f", "h:<p>two")),
        "one two",
    ),
    "twice the same": (("mixed", "p:Hello there", "h:<p>Hello <b>there</b>"), "Hello there"),
    "signed": (("signed", ("alternative", "p:plain", "h:<p>x"), "f"), "plain"),
}


@pytest.mark.parametrize("what", SAID)
def test_all_that_is_said_is_read(what: str) -> None:
    tree, text = SAID[what]
    item = taken(tree)

    assert item.text == text
    assert not item.flags


def test_what_stands_beside_a_page_is_shown_with_it() -> None:
    item = taken(("mixed", "h:<p>Hello</p>", "p:1 < 2\r\n-- AV"))

    assert item.html == "<p>Hello</p>\n<p>1 &lt; 2<br>-- AV</p>"
    assert taken("p:Hello").html is None


LEFT_OUT = {
    "a long text": ("p:" + "й" * bodies.TEXT, ["text may have 100000 bytes"]),
    "a long page": (
        "h:" + "<b></b>" * 30_000 + "hello",
        ["html may have 200000 bytes"],
    ),
    "a page with a long text": (
        "h:" + "й" * bodies.TEXT,
        ["text may have 100000 bytes"],
    ),
    "a page larger than it came": ("h:" + "&" * 199_000, [
        "text may have 100000 bytes", "html may have 200000 bytes",
    ]),
    "a deep page": (
        "h:" + "<u></x>" * 300 + "hello",
        ["html may have 200 elements within each other"],
    ),
    "neither": ("h:<script>1</script>", []),
    "as long as may be": ("p:" + "x" * bodies.TEXT, []),
    "many": (("mixed", *["p:" + "x" * 50_000] * 3), ["text may have 100000 bytes"]),
}  # fmt: skip


@pytest.mark.parametrize("what", LEFT_OUT)
def test_what_is_left_out_is_told(what: str) -> None:
    tree, flags = LEFT_OUT[what]
    item = taken(tree)  # type: ignore[arg-type]

    assert list(item.flags) == flags
    assert len(item.text.encode()) <= bodies.TEXT
