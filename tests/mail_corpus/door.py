"""What may be said at a mail server's door otherwise than it should be."""

from __future__ import annotations

TO = b"support@example.test"
HEAD = b"From: iryna@example.test\r\nSubject: "
END = b"\r\n.\r\n"
SMUGGLED = (
    b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<" + TO + b">\r\nDATA\r\nFrom: evil@x.test\r\n\r\nhi"
)

HELLO, FROM, RCPT, DATA = (
    b"EHLO x.test\r\n",
    b"MAIL FROM:<iryna@example.test>\r\n",
    b"RCPT TO:<" + TO + b">\r\n",
    b"DATA\r\n",
)
BEGUN = (HELLO, FROM, RCPT, DATA)

ENDS = {
    "LF . LF": b"\n.\n",
    "LF . CRLF": b"\n.\r\n",
    "CRLF . LF": b"\r\n.\n",
    "CR . CR": b"\r.\r",
    "CR . LF": b"\r.\n",
    "LF . CR": b"\n.\r",
    "CRLF . CR": b"\r\n.\r",
    "CR . CRLF": b"\r.\r\n",
    "CRLF NUL . CRLF": b"\r\n\x00.\r\n",
    "CRLF . NUL CRLF": b"\r\n.\x00\r\n",
}
"""What some server takes for the end of a mail, and no standard does."""

TEXTS = {
    "bare LF": b"a\nb\nc",
    "bare CR": b"a\rb",
    "NUL": b"a\x00b",
    "eight bits": "я".encode(),
    "eight bits of nothing": b"\xff\xfe",
    "dots": b"..\r\n...\r\n..a",
    "QUIT": b"QUIT\r\nRSET\r\nQUIT",
    "a long line": b"x" * 60_000,
    "many lines": b"x\r\n" * 50_000,
    "nothing": b"",
}

SAID = {
    "a receiver before a sender": ((HELLO, RCPT), b"503"),
    "data before a receiver": ((HELLO, FROM, DATA), b"503"),
    "two senders": ((HELLO, FROM, FROM), b"503"),
    "nonsense": ((HELLO, b"FOO\r\n"), b"500"),
    "NUL for a command": ((HELLO, b"\x00\r\n"), b"500"),
    "eight bits for a command": ((HELLO, b"\xff\xfe\r\n"), b"500"),
    "larger than may be": ((HELLO, FROM.replace(b"\r\n", b" SIZE=99999999\r\n")), b"552"),
    "a size that is none": ((HELLO, FROM.replace(b"\r\n", b" SIZE=x\r\n")), b"501"),
    "a receiver elsewhere": ((HELLO, FROM, b"RCPT TO:<x@y.test>\r\n"), b"550"),
    "a way round": ((HELLO, FROM, b"RCPT TO:<x%y.test@" + TO.split(b"@")[1] + b">\r\n"), b"550"),
    "a receiver without brackets": ((HELLO, FROM, b"RCPT TO: " + TO + b" x\r\n"), b"555"),
    "a credential": ((HELLO, b"AUTH PLAIN AAAA\r\n"), b"538"),
    "encryption": ((HELLO, b"STARTTLS\r\n"), b"454"),
    "who is there": ((HELLO, b"EXPN support\r\n"), b"502"),
}
"""What is refused, and how the last word is answered."""
