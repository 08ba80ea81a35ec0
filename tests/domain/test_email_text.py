"""What a person reads of a mail: what was written now, apart from what was quoted; safe markup."""

from __future__ import annotations

import re
import time

import nh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mail_corpus.clients import CLIENTS, NOW
from mail_corpus.contents import harmless

from ingest.channels.email import mime, quotations, sanitize

LIMIT = 200_000


def safe(told: str, limit: int) -> str | None:
    """Give what is shown of markup."""
    return sanitize.safe(told, limit)[0]


@pytest.mark.parametrize("client", CLIENTS)
def test_what_was_quoted_is_told_apart(client: str) -> None:
    written, below = quotations.split(f"{NOW}\n\n{CLIENTS[client]}")

    assert (written, below) == (NOW, CLIENTS[client])


WHOLE = {
    "nothing quoted": NOW,
    "written below": f"{CLIENTS['gmail en']}\n\n{NOW}",
    "written between": f"{NOW}\n\n{CLIENTS['gmail en']}\n\nYes, that one.\n\n> 18\n\nNo.",
    "only a quotation": CLIENTS["gmail uk"],
    "only a forward": CLIENTS["gmail forward"],
    "colons and numbers": "At 10:30 I wrote to you:\nnothing came\nFrom: here\nto there",
    "a journey": "Please rebook me.\n\nFrom: Kyiv\nTo: Lviv\nDate: 5 May 10:30\n\nOrder 123456",
    "a journey in Ukrainian": "Переоформіть:\n\nВід: Київ\nДо: Львів\nДата: 5 травня\n\n№ 17",
    "a price list": "1. Від: 100\n2. До: 200",
    "empty": "",
}


@pytest.mark.parametrize("how", WHOLE)
def test_what_cannot_be_told_apart_stays_whole(how: str) -> None:
    assert quotations.split(WHOLE[how]) == (WHOLE[how], None)


@given(st.text(alphabet="ab >:<@.\n0123_-FromTSOnwtпишеВід", max_size=400))
@settings(max_examples=300, deadline=None)
def test_nothing_is_lost(text: str) -> None:
    written, below = quotations.split(text)

    assert re.sub(r"\s", "", written + (below or "")) == re.sub(r"\s", "", text)


@pytest.mark.parametrize(
    "line", ["On ", "On \n", ">", ">a\n", "From: a\n", "1:1 wrote\n", "<a@", "_", "\n", "пн, 2:\n"]
)
def test_no_text_takes_long(line: str) -> None:
    began = time.process_time()
    quotations.split((line * 100_000)[:100_000])
    quotations.split(line * 2000 + "x\n" * 2000)
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
    "quoted from a script": '<blockquote cite="javascript:evil">x</blockquote>',
    "written by data": '<q cite=" DATA:text/html,evil">x</q><ins cite="vbscript:evil">x</ins>',
    "a relative address": '<del cite="//evil.test/x">x</del><a href="//evil.test">x</a>',
    "cid link": '<a href="cid:logo">x</a>',
    "mutation": '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    "template": "<template><script>alert(1)</script></template>",
    "an end within quotes": '<b title="</b><img src=x onerror=alert(1)>">',
    "an odd comment": "<!--><script>alert(1)</script>--!><script>alert(1)</script>",
    "style that is not one": "<svg><style><!--</style><img src=x onerror=alert(1)>-->",
    "verbatim": "<textarea><img src=x onerror=alert(1)></textarea><xmp><script>x</script></xmp>",
    "xml": '<?xml version="1.0"?><x xmlns:a="b"><a:script>alert(1)</a:script>',
}


@pytest.mark.parametrize("what", HARMFUL)
def test_nothing_harmful_is_left(what: str) -> None:
    kept = safe(f"<p>before</p>{HARMFUL[what]}<p>after</p>", LIMIT) or ""

    assert "<p>before</p>" in kept
    assert harmless(kept)
    assert not re.search(r"(java|vb)script:|data:|evil", kept)


def test_what_is_harmless_is_left() -> None:
    told = (
        '<table><tr><td colspan="2"><b>17</b></td></tr></table><a href="https://x.test/?a=1">x</a>'
        '<img src="cid:logo@x" alt="logo"><ul><li>one</li></ul><blockquote>q</blockquote>'
    )
    kept = safe(told, LIMIT) or ""

    for each in ("<b>17</b>", 'href="https://x.test/?a=1"', "cid:logo@x", "<li>one", "blockquote"):
        assert each in kept


def test_an_address_may_be_quoted_from() -> None:
    told = '<blockquote cite="https://x.test/1">q</blockquote>'

    assert safe(told, LIMIT) == told


@pytest.mark.parametrize("name", sorted(sanitize.ADDRESSES))
def test_no_attribute_holds_an_address_that_acts(name: str) -> None:
    assert sanitize._addresses("a", name, "javascript:alert(1)") is None
    assert sanitize._addresses("a", name, "https") is None


@pytest.mark.parametrize(
    "told",
    ["", "<div>" * 40_000, "x" * (LIMIT + 1), "<a>" * 60_000, "<script>x</script>", "\ud800"],
    ids=["empty", "deep", "long", "grows", "nothing left", "a lone surrogate"],
)
def test_what_is_too_much_is_left_out(told: str) -> None:
    began = time.process_time()
    kept = safe(told, LIMIT)

    assert kept is None or kept == "?"
    assert time.process_time() - began < 1


PIECES = [
    *(f"<{name}>" for name in [*sorted(sanitize.SHOWN), "u", "svg", "math", "x", "font", "title"]),
    *(f"</{name}>" for name in [*sorted(sanitize.SHOWN), "u", "svg", "math", "x", "font", "title"]),
    "<style>", "</style>", "<textarea>", "</textarea>", "<select>", "</select>", "<plaintext>",
    "<form>", "</form>", "<template>", "</template>", "<![CDATA[", "]]>", "<!--", "-->", "--!>",
    "<!-->", "<b title='</b>'>", '<u a="', '">', "<i a='", "'>", "<", ">", "</", "<?", "k", "&lt;",
    "<td", "=", "<P/>", "</P/ x>", "<tBoDy\n>", "<img src=cid:k>",
]  # fmt: skip
SOUP = st.lists(
    st.tuples(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6), st.integers(1, 40)),
    max_size=8,
).map(lambda parts: "".join("".join(piece) * times for piece, times in parts))


def depth_of(written: str) -> int:
    """How deep elements are, in markup a parser has written out: there every tag is meant."""
    depth = deepest = 0
    for end, name in re.findall(r"<(/?)([a-z][a-z0-9]*)", written):
        if name not in {"area", "br", "col", "hr", "img", "wbr"}:
            depth += -1 if end else 1
            deepest = max(deepest, depth)
    assert depth == 0
    return deepest


def parsed(told: str) -> str:
    """It as a browser's parser understands it, written out."""
    return nh3.clean(told, attributes={}, link_rel=None)


@given(SOUP)
@settings(max_examples=150, deadline=None)
def test_no_parser_finds_markup_deeper_than_it_was_counted(soup: str) -> None:
    try:
        told = sanitize.balanced(soup)
    except sanitize.TooDeep:
        return
    counted, tables = depth_of(told), told.count("<table")

    assert counted <= sanitize.DEPTH
    # A parser puts a table's rows into a body of their own, and lone cells into a row.
    assert depth_of(parsed(told)) <= counted + 2 * min(tables, counted)
    assert sanitize.balanced(told) == told


@given(SOUP)
@settings(max_examples=200, deadline=None)
def test_no_text_is_lost_between_tags(soup: str) -> None:
    try:
        told = sanitize.balanced(soup)
    except sanitize.TooDeep:
        return

    assert re.sub(r"\s", "", mime.plain_of(told)) == re.sub(r"\s", "", mime.plain_of(soup))


def test_end_tags_of_what_is_not_open_close_nothing() -> None:
    """What was taken for flat by counting tags, and is as deep as it is long."""
    deep = "<u></x>" * 20_000

    with pytest.raises(sanitize.TooDeep):
        sanitize.balanced(deep)
    assert depth_of(parsed("<u></x>" * 300)) == 300


BOMBS = {
    "stray ends": "<u></x>" * 20_000 + "<hr>" * 14_900,
    "ends in comments": "<u><!--</u>-->" * 7_000 + "<hr>" * 25_000,
    "ends in quotes": "<u a='</u>'>" * 8_000 + "<hr>" * 25_000,
    "ends a block hides": "<span><div></span></div>" * 8_300,
    "opened again": "<p>" + "".join(f"<b title={n}>" for n in range(190)) + "<p>x" * 45_000,
    "beside a table": "<table>" + "".join(f"<b title={n}>" for n in range(190)) + "<tr>x" * 38_000,
    "attributes": "<a " + " ".join(f"a{n}" for n in range(30_000)) + ">x</a>",
    "lifted": ("<b>" * 90 + "<div>" * 90 + "</b>" * 90 + "</div>" * 90) * 120,
    "never ended": "<a =" * 40_000 + '">"',
    "smaller than": "<" * 200_000,
    "entities": "&" * 200_000,
}


@pytest.mark.parametrize("what", BOMBS)
def test_no_markup_takes_long(what: str) -> None:
    began = time.process_time()
    safe(BOMBS[what][:LIMIT], LIMIT)
    mime.plain_of(BOMBS[what] * 5)
    assert time.process_time() - began < 2


LIKE_A_BROWSER = {
    "<p>a<p>b": "<p>a</p><p>b</p>",
    "<ul><li>a<li>b<ul><li>c</ul><li>d</ul>":
        "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>",
    "<table><tr><td>a<td>b<tr><td><p>c</table>d":
        "<table><tbody><tr><td>a</td><td>b</td></tr><tr><td><p>c</p></td></tr></tbody></table>d",
    "<dl><dt>a<dd>b<dt>c</dl>": "<dl><dt>a</dt><dd>b</dd><dt>c</dt></dl>",
    "<b>a<i>b</b>c</i>d": "<b>a<i>b</i></b>cd",
    "<b>a<p>b</b>c</p>d": "<b>a<p>b</p></b><p>c</p>d",
    "<div>a<b>b</div>c": "<div>a<b>b</b></div>c",
    "<a href='https://a.test'>a<a href='https://b.test'>b":
        '<a href="https://a.test">a</a><a href="https://b.test">b</a>',
    "a</p></td></b>b": "ab",
    "<TABLE><TR><TD TITLE=1>A</TABLE>":
        '<table><tbody><tr><td title="1">A</td></tr></tbody></table>',
    "1 < 2 <3 > <img alt='a>b\"c' src=cid:x>":
        '1 &lt; 2 &lt;3 &gt; <img alt="a&gt;b&quot;c" src="cid:x">',
    "<q title=\"a&amp;b'\">&copy;</q>": "<q title=\"a&amp;b'\">©</q>",
}  # fmt: skip


@pytest.mark.parametrize("told", LIKE_A_BROWSER)
def test_sloppy_markup_is_read_as_it_is_meant(told: str) -> None:
    kept = safe(told, LIMIT) or ""

    assert kept.replace(' rel="noopener noreferrer"', "") == LIKE_A_BROWSER[told]
