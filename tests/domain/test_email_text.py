"""What a person reads of a mail: what was written now, apart from what was quoted; safe markup."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.adapters import markup, quoted

LIMIT = 200_000
NOW = "Дякую, все гаразд.\nІрина"
BODY = "> Де моє замовлення?\n> 17"
PLAIN = "Де моє замовлення?\n17"

CLIENTS = {
    "gmail en": f"On Mon, Mar 2, 2026 at 9:00 AM Support <support@desk.test> wrote:\n\n{BODY}",
    "gmail en, wrapped": f"On Mon, Mar 2, 2026 at 9:00 AM Desk\n<support@desk.test> wrote:\n{BODY}",
    "gmail uk": f"пн, 2 бер. 2026 р. о 09:00 Support <support@desk.test> пише:\n\n{BODY}",
    "gmail uk, wrapped": f"пн, 2 бер. 2026 р. о 09:00 Desk\n<support@desk.test> пише:\n{BODY}",
    "gmail ru": f"пн, 2 мар. 2026 г. в 09:00, Support <support@desk.test>:\n\n{BODY}",
    "gmail de": f"Am Mo., 2. März 2026 um 09:00 Uhr schrieb Support <support@desk.test>:\n\n{BODY}",
    "gmail fr": f"Le lun. 2 mars 2026 à 09:00, Support <support@desk.test> a écrit :\n\n{BODY}",
    "gmail es": f"El lun, 2 mar 2026 a las 9:00, Support (<support@desk.test>) escribió:\n\n{BODY}",
    "gmail it": f"Il giorno lun 2 mar 2026 alle ore 09:00 Support <s@d.test> ha scritto:\n\n{BODY}",
    "gmail pl": f"pon., 2 mar 2026 o 09:00 Support <support@desk.test> napisał(a):\n\n{BODY}",
    "gmail cs": f"po 2. 3. 2026 v 9:00 odesílatel Support <support@desk.test> napsal:\n\n{BODY}",
    "gmail nl": f"Op ma 2 mrt 2026 om 09:00 schreef Support <support@desk.test>:\n\n{BODY}",
    "gmail pt": f"Em seg., 2 de mar. de 2026 às 09:00, Support <s@d.test> escreveu:\n\n{BODY}",
    "gmail sv": f"Den mån 2 mars 2026 kl 09:00 skrev Support <support@desk.test>:\n\n{BODY}",
    "gmail forward": f"---------- Forwarded message ---------\nFrom: Shop <s@x.test>\n\n{PLAIN}",
    "gmail uk forward": f"---------- Переслане повідомлення ---------\nВід: Shop\n\n{PLAIN}",
    "apple en": f"> On 2 Mar 2026, at 09:00, Support <support@desk.test> wrote:\n> \n{BODY}",
    "apple uk": f"> 2 бер. 2026 р. о 09:00 Support <support@desk.test> написав(-ла):\n> \n{BODY}",
    "apple ru": f"> 2 марта 2026 г., в 09:00, Support <support@desk.test> написал(а):\n> \n{BODY}",
    "apple forward": f"Begin forwarded message:\n\nFrom: Shop <s@x.test>\nDate: today\n\n{PLAIN}",
    "thunderbird en": f"On 02.03.26 09:00, Support wrote:\n{BODY}",
    "thunderbird uk": f"02.03.26 09:00, Support пише:\n{BODY}",
    "thunderbird ru": f"02.03.2026 9:00, Support пишет:\n{BODY}",
    "thunderbird de": f"Am 02.03.26 um 09:00 schrieb Support:\n{BODY}",
    "thunderbird fr": f"Le 02/03/2026 à 09:00, Support a écrit :\n{BODY}",
    "outlook en": "From: Support <support@desk.test>\nSent: Monday, March 2, 2026 9:00 AM\n"
    f"To: Iryna\nSubject: Order\n\n{PLAIN}",
    "outlook en, ruled": f"{'_' * 32}\nFrom: Support\nSent: Monday, March 2, 2026\n"
    f"To: Iryna\nSubject: Order\n\n{PLAIN}",
    "outlook uk": "Від: Support <support@desk.test>\nНадіслано: 2 березня 2026 р. 9:00\n"
    f"Кому: Ірина\nТема: Замовлення\n\n{PLAIN}",
    "outlook ru": "От: Support\nОтправлено: 2 марта 2026 г. 9:00\nКому: Ирина\nТема: Заказ\n\n"
    + PLAIN,
    "outlook de": "Von: Support\nGesendet: Montag, 2. März 2026 09:00\nAn: Iryna\nBetreff: x\n\n"
    + PLAIN,
    "outlook fr": "De : Support\nEnvoyé : lundi 2 mars 2026 09:00\nÀ : Iryna\nObjet : x\n\n"
    + PLAIN,
    "outlook pl": "Od: Support\nWysłano: 2 marca 2026 09:00\nDo: Iryna\nTemat: x\n\n" + PLAIN,
    "outlook bold": "*From:* Support\n*Sent:* Monday, March 2, 2026\n*To:* Iryna\n\n" + PLAIN,
    "outlook express": f"----- Original Message -----\nFrom: Support\nTo: Iryna\n\n{PLAIN}",
    "outlook uk express": f"-----Вихідне повідомлення-----\nВід: Support\n\n{PLAIN}",
    "yahoo": f"On Monday, March 2, 2026, 9:00 AM, Support <support@desk.test> wrote:\n\n {PLAIN}",
    "samsung": f"-------- Original message --------\nFrom: Support\nDate: 02/03/2026\n\n{PLAIN}",
    "ukr.net": f"--- Оригінальне повідомлення ---\nВід кого: Support\nДата: 2 березня\n\n{PLAIN}",
    "mail.ru": f"Понедельник, 2 марта 2026, 9:00 +02:00 от Support <s@d.test>:\n{BODY}",
    "protonmail": f"On Monday, March 2nd, 2026 at 09:00, Support <s@d.test> wrote:\n\n{BODY}",
    "mutt": f"On Mon, Mar 02, 2026 at 09:00:00AM +0200, Support wrote:\n{BODY}",
    "roundcube": f"Support писав 2026-03-02 09:00:\n{BODY}",
    "no introduction": BODY,
}


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
