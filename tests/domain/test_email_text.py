"""What a person reads of a mail: what was written now, apart from what was quoted; safe markup."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mail_corpus.clients import CLIENTS, NOW

from ingest.adapters import markup, quoted

LIMIT = 200_000


@pytest.mark.parametrize("client", CLIENTS)
def test_what_was_quoted_is_told_apart(client: str) -> None:
    written, below = quoted.split(f"{NOW}\n\n{CLIENTS[client]}")

    assert (written, below) == (NOW, CLIENTS[client])


WHOLE = {
    "nothing quoted": NOW,
    "written below": f"{CLIENTS['gmail en']}\n\n{NOW}",
    "written between": f"{NOW}\n\n{CLIENTS['gmail en']}\n\nYes, that one.\n\n> 18\n\nNo.",
    "only a quotation": CLIENTS["gmail uk"],
    "only a forward": CLIENTS["gmail forward"],
    "colons and numbers": "At 10:30 I wrote to you:\nnothing came\nFrom: here\nto there",
    "a price list": "1. Від: 100\n2. До: 200",
    "empty": "",
}


@pytest.mark.parametrize("how", WHOLE)
def test_what_cannot_be_told_apart_stays_whole(how: str) -> None:
    assert quoted.split(WHOLE[how]) == (WHOLE[how], None)


@given(st.text(alphabet="ab >:<@.\n0123_-FromTSOnwtпишеВід", max_size=400))
@settings(max_examples=300, deadline=None)
def test_nothing_is_lost(text: str) -> None:
    written, below = quoted.split(text)

    assert re.sub(r"\s", "", written + (below or "")) == re.sub(r"\s", "", text)


@pytest.mark.parametrize(
    "line", ["On ", "On \n", ">", ">a\n", "From: a\n", "1:1 wrote\n", "<a@", "_", "\n", "пн, 2:\n"]
)
def test_no_text_takes_long(line: str) -> None:
    began = time.process_time()
    quoted.split((line * 100_000)[:100_000])
    quoted.split(line * 2000 + "x\n" * 2000)
    assert time.process_time() - began < 2


# ---------------------------------------------------------------------- markup

HARMFUL = {
    "script": "<script>alert(1)</script>",
    "handler": '<img src=x onerror="alert(1)">',
    "svg": '<svg><script href="data:,alert(1)"/></svg>',
    "mathml": '<math><mtext><table><mglyph><style><img src=x onerror="alert(1)">',
    "javascript link": '<a href="javascript:alert(1)">x</a>',
    "data link": '<a href="data:text/html,<script>alert(1)</script>">x</a>',
    "spaced scheme": '<a href=" java\nscript:alert(1)">x</a>',
    "style": "<style>@import 'http://evil.test/x.css'</style>",
    "inline style": '<p style="background:url(http://evil.test/p.png)">x</p>',
    "form": '<form action="http://evil.test"><input name=p></form>',
    "frame": '<iframe src="http://evil.test"></iframe>',
    "object": '<object data="http://evil.test"></object><embed src="http://evil.test">',
    "meta": '<meta http-equiv="refresh" content="0;url=http://evil.test">',
    "base": '<base href="http://evil.test/">',
    "pixel": '<img src="http://evil.test/p.gif" width=1 height=1>',
    "pixel by srcset": '<img srcset="http://evil.test/p.gif 1x">',
    "background": '<table background="http://evil.test/p.gif"><tr><td>x</table>',
    "comment": "<!--[if mso]><script>alert(1)</script><![endif]-->",
    "cid link": '<a href="cid:logo">x</a>',
    "mutation": '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    "template": "<template><script>alert(1)</script></template>",
    "xml": '<?xml version="1.0"?><x xmlns:a="b"><a:script>alert(1)</a:script>',
}


@pytest.mark.parametrize("what", HARMFUL)
def test_nothing_harmful_is_left(what: str) -> None:
    kept = markup.safe(f"<p>before</p>{HARMFUL[what]}<p>after</p>", LIMIT) or ""

    assert "<p>before</p>" in kept
    assert not re.search(
        r"<script|<style|<svg|<iframe|<form|<meta|<base|<template|\son\w+=|javascript:|evil"
        r"|href=.cid:|data:|<!--",
        kept,
    )


def test_what_is_harmless_is_left() -> None:
    told = (
        '<table><tr><td colspan="2"><b>17</b></td></tr></table><a href="https://x.test/?a=1">x</a>'
        '<img src="cid:logo@x" alt="logo"><ul><li>one</li></ul><blockquote>q</blockquote>'
    )
    kept = markup.safe(told, LIMIT) or ""

    for each in ("<b>17</b>", 'href="https://x.test/?a=1"', "cid:logo@x", "<li>one", "blockquote"):
        assert each in kept


@pytest.mark.parametrize(
    "told",
    ["", "<div>" * 40_000, "x" * (LIMIT + 1), "<a>" * 60_000, "<script>x</script>", "\ud800"],
    ids=["empty", "deep", "long", "grows", "nothing left", "a lone surrogate"],
)
def test_what_is_too_much_is_left_out(told: str) -> None:
    began = time.process_time()
    kept = markup.safe(told, LIMIT)

    assert kept is None or kept == "?"
    assert time.process_time() - began < 1
