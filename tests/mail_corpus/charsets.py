"""Texts in every charset mails are written in, told rightly, wrongly or not at all."""

from __future__ import annotations

import base64
import quopri
from typing import TYPE_CHECKING

from mail_corpus import HEAD, Case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UKRAINIAN, JAPANESE, CHINESE, KOREAN = (
    "Де моє замовлення? їєґ",
    "注文はどこですか",
    "我的订单在哪里",
    "주문",
)
GREEK, TURKISH, POLISH, LATIN = "Πού είναι;", "Sipariş nerede", "Gdzie jest zamówienie", "Où est-ce"
HEBREW, ARABIC, THAI, BALTIC = "איפה ההזמנה", "أين طلبي", "คำสั่งซื้อ", "Kur yra užsakymas"

KNOWN = {
    "utf-8": UKRAINIAN, "utf-16": UKRAINIAN, "utf-16-le": UKRAINIAN, "utf-32": UKRAINIAN,
    "utf-7": UKRAINIAN, "utf-8-sig": UKRAINIAN,
    "windows-1251": UKRAINIAN, "koi8-u": UKRAINIAN, "iso-8859-5": "Де мое замовлення",
    "ibm866": "Де заказ", "cp1125": UKRAINIAN, "x-mac-cyrillic": "Де заказ", "koi8-r": "Где заказ",
    "iso-2022-jp": JAPANESE, "shift_jis": JAPANESE, "euc-jp": JAPANESE, "cp932": JAPANESE,
    "gb2312": CHINESE, "gbk": CHINESE, "gb18030": CHINESE, "hz": CHINESE, "big5": "訂單",
    "euc-kr": KOREAN, "ks_c_5601-1987": KOREAN, "iso-2022-kr": KOREAN,
    "iso-8859-1": LATIN, "iso-8859-15": "5 € à", "windows-1252": "“5 €”", "us-ascii": "hello",
    "iso-8859-2": POLISH, "windows-1250": POLISH, "windows-1253": GREEK, "iso-8859-7": GREEK,
    "windows-1254": TURKISH, "iso-8859-9": TURKISH, "windows-1257": BALTIC, "iso-8859-13": BALTIC,
    "windows-1255": HEBREW, "iso-8859-8": HEBREW, "windows-1256": ARABIC, "iso-8859-6": ARABIC,
    "tis-620": THAI, "windows-874": THAI,
}  # fmt: skip
ALIASES = {"x-mac-cyrillic": "mac-cyrillic", "windows-874": "cp874", "cp1125": "cp1125"}

PACKED: dict[bytes, Callable[[bytes], bytes]] = {
    b"8bit": lambda data: data,
    b"base64": lambda data: base64.encodebytes(data),
    b"quoted-printable": lambda data: quopri.encodestring(data),
}


def body(charset: bytes, data: bytes, packing: bytes = b"8bit") -> bytes:
    kind = b"Content-Type: text/plain" + (b"; charset=" + charset if charset else b"")
    return HEAD + kind + b"\r\nContent-Transfer-Encoding: " + packing + b"\r\n\r\n" + data


def told_rightly() -> Iterator[Case]:
    for charset, text in KNOWN.items():
        data = text.encode(ALIASES.get(charset, charset))
        for packing, pack in PACKED.items():
            if packing == b"8bit" and charset.startswith(("utf-16", "utf-32")):
                continue
            name = f"{charset} by {packing.decode()}"
            yield Case(name, body(charset.encode(), pack(data), packing), told={"text": text})
    for charset in ("utf-8", "windows-1251", "koi8-u"):
        word = base64.b64encode(UKRAINIAN.encode(charset))
        subject = b"=?" + charset.encode() + b"?b?" + word + b"?="
        head = HEAD.replace(b"Subject: Order", b"Subject: " + subject)
        yield Case(f"a subject in {charset}", head + b"\r\nx", told={"asked.title": UKRAINIAN})


NO_CHARSET = ("klingon", "", "x", "utf8mb4", "hex", "rot13", "zip", "bz2", "punycode", "idna",
              "unicode_escape", "undefined", "mbcs", "oem", "a" * 100, "utf-8;", "'utf-8'", "%s",
              "../../etc/passwd", "\x01")  # fmt: skip


def told_wrongly() -> Iterator[Case]:
    """A text that is UTF-8 is read, whatever charset is named that is none, or cannot be it."""
    for charset in NO_CHARSET:
        for packing in (b"8bit", b"base64"):
            data = PACKED[packing](UKRAINIAN.encode())
            name = f"utf-8 told as {charset[:12]!r} by {packing.decode()}"
            yield Case(name, body(charset.encode(), data, packing), told={"text": UKRAINIAN})
    for charset in ("us-ascii", "iso-2022-jp", "hz", "utf-7"):
        yield Case(f"utf-8 told as {charset}", body(charset.encode(), UKRAINIAN.encode()),
                   told={"text": UKRAINIAN})  # fmt: skip
    for wrong in ("koi8-u", "cp1251", "gb18030", "iso-2022-jp", "big5", "euc-kr", "shift_jis"):
        try:
            data = UKRAINIAN.encode(wrong)
        except UnicodeEncodeError:
            data = JAPANESE.encode("shift_jis")
        yield Case(f"{wrong} told as utf-8", body(b"utf-8", data), told={"text": bool})
        yield Case(f"{wrong} not told", body(b"", data), told={"text": bool})


BADLY = {
    "base64 with signs": (b"base64", b"!!!0JTQtSA=!!!\r\n"),
    "base64 cut short": (b"base64", b"0JTQtSDQvNC+0"),
    "base64 in one line": (b"base64", base64.b64encode(b"x" * 50_000)),
    "base64 of base64": (b"base64", base64.b64encode(base64.b64encode(b"hello"))),
    "base64 that is not": (b"base64", b"hello there"),
    "quoted-printable of nonsense": (b"quoted-printable", b"=ZZ=4=\xd0=\r\n=41=="),
    "quoted-printable cut": (b"quoted-printable", b"a=\r\nb="),
    "uuencoded": (b"x-uuencode", b"begin 644 a\r\n#0V%T\r\n`\r\nend\r\n"),
    "uuencoded badly": (b"x-uuencode", b"begin 644 a\r\n~~~~\r\n"),
    "yenc": (b"x-yenc", b"=ybegin line=128 size=3 name=a\r\nabc\r\n=yend\r\n"),
    "an encoding nobody knows": (b"klingon", b"hello"),
    "7bit that is not": (b"7bit", UKRAINIAN.encode()),
    "binary": (b"binary", b"a\x00b\xff\xfe"),
    "two encodings": (b"base64, 8bit", b"hello"),
    "NUL": (b"8bit", b"a\x00b"),
    "lone surrogates": (b"8bit", b"\xed\xa0\x80"),
    "overlong": (b"8bit", b"\xc0\xaf"),
    "escapes of terminals": (b"8bit", b"\x1b[2Jhello\x07"),
    "right to left": (b"8bit", "a\u202egnp.exe".encode()),
    "zalgo": (b"8bit", ("e" + "\u0301" * 500).encode()),
    "4096 emoji": (b"8bit", ("👩‍👩‍👧‍👦" * 4096).encode()),
    "one long word": (b"8bit", b"x" * 100_000),
    "one long line": (b"8bit", b"x " * 1_000_000),
    "a million lines": (b"8bit", b"\r\n" * 1_000_000 + b"x"),
}


def cases() -> Iterator[Case]:
    """Give the class."""
    yield from told_rightly()
    yield from told_wrongly()
    for name, (packing, data) in BADLY.items():
        yield Case(name, body(b"utf-8", data, packing), told={"text": lambda t: "\x00" not in t})
