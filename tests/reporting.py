"""Reports as mail servers write them: one form per kind of server, in words of our own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SENT = "<{id}@desk.test>"
TO = "iryna@example.test"


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def fields(action: str, status: str, **more: str) -> str:
    """The group about one receiver."""
    told = {"Final-Recipient": f"rfc822; {TO}", "Action": action, "Status": status, **more}
    return "\n".join(f"{k.replace('_', '-')}: {v}" for k, v in told.items() if v) + "\n"


def returned(id: str) -> str:
    """The head of our mail."""
    return f"From: support@desk.test\nTo: {TO}\nSubject: Re: Order\nMessage-ID: {id}\n"


def report(
    parts: list[tuple[str, str]],
    *,
    kind: str = 'multipart/report; report-type=delivery-status; boundary="r"',
    author: str = "Mail Delivery System <MAILER-DAEMON@mx.test>",
    to: str = "support@desk.test",
    **more: str,
) -> bytes:
    """A mail of these parts."""
    head = {"From": author, "To": to, "Subject": "It came back", "Content-Type": kind, **more}
    lines = [f"{name.replace('_', '-')}: {value}\n" for name, value in head.items()]
    if "multipart" not in kind.lower():
        return crlf("".join(lines) + "\n" + parts[0][1])
    body = "".join(f"--r\nContent-Type: {kind}\n\n{text}\n" for kind, text in parts)
    return crlf("".join(lines) + "\n" + body + "--r--\n")


Server = Callable[[str, str, str], bytes]
"""Writes that a mail (by its Message-ID) met this end: action and status."""

WORDS = ("text/plain; charset=us-ascii", "Your mail met this end.")
STATUS = "message/delivery-status"
PER_MAIL = "Reporting-MTA: dns; mx.test\nArrival-Date: Mon, 2 Mar 2026 09:00:00 +0200\n\n"


def _like_postfix(id: str, action: str, status: str) -> bytes:
    group = fields(action, status, Diagnostic_Code="smtp; 550 Unknown user")
    about = "X-Queue-ID: 4F2\n" + PER_MAIL + group
    return report([WORDS, (STATUS, about), ("message/rfc822", returned(id) + "\nhello")])


def _like_postfix_headers(id: str, action: str, status: str) -> bytes:
    about = PER_MAIL + fields(action, status)
    return report([WORDS, (STATUS, about), ("text/rfc822-headers", returned(id))])


def _like_sendmail(id: str, action: str, status: str) -> bytes:
    about = PER_MAIL + fields(action, status, Remote_MTA="DNS; mx.example.test")
    kind = 'multipart/report; report-type=delivery-status;\n\tboundary="r"'
    return report(
        [WORDS, (STATUS, about), ("text/rfc822-headers", returned(id))],
        kind=kind,
        Auto_Submitted="auto-generated (failure)",
    )


def _like_exim(id: str, action: str, status: str) -> bytes:
    about = PER_MAIL + fields(action, status)
    parts = [WORDS, (STATUS, about), ("message/rfc822", returned(id) + "\nhello")]
    return report(parts, X_Failed_Recipients=TO, Auto_Submitted="auto-replied")


def _like_exchange(id: str, action: str, status: str) -> bytes:
    inner = "--a\nContent-Type: text/html\n\n<p>It met this end.</p>\n--a--\n"
    about = PER_MAIL + fields(action, status, Diagnostic_Code=f"smtp;550 {status} not found")
    return report(
        [
            ('multipart/alternative; boundary="a"', inner),
            (STATUS, about),
            ("message/rfc822", returned(id) + "\nhello"),
        ],
        author="Postmaster <postmaster@example.test>",
        X_MS_Exchange_Message_Is_Ndr="",
    )


def _like_gmail(id: str, action: str, status: str) -> bytes:
    inner = "--a\nContent-Type: text/plain\n\nIt met this end.\n--a--\n"
    about = PER_MAIL + fields(action, status, Last_Attempt_Date="Mon, 2 Mar 2026 09:00:01 +0000")
    return report(
        [
            ('multipart/related; boundary="a"', inner),
            (STATUS, about),
            ("message/rfc822", returned(id) + "\nhello"),
        ],
        author="Mail Delivery Subsystem <mailer-daemon@example.test>",
        X_Failed_Recipients=TO,
        Auto_Submitted="auto-replied",
    )


def _like_a_bulk_sender(id: str, action: str, status: str) -> bytes:
    about = "Reporting-MTA: dns; out.test\n\n" + fields(action.upper(), status)
    return report([(STATUS, about), WORDS, ("message/rfc822", "X-Other: 1\n" + returned(id))])


def _like_courier(id: str, action: str, status: str) -> bytes:
    about = PER_MAIL + fields(f"{action} (for good)", f"{status} (as it seems)")
    kind = 'multipart/report; boundary="r"; charset="utf-8"; report-type="delivery-status"'
    return report([WORDS, (STATUS, about), ("text/rfc822-headers; charset=utf-8", returned(id))],
                  kind=kind)  # fmt: skip


def _like_opensmtpd(id: str, action: str, status: str) -> bytes:
    about = "Reporting-MTA: dns; mx.test\n\n" + fields(action, status)
    return report([WORDS, (STATUS, about), ("message/rfc822-headers", returned(id)),
                   ("text/rfc822-headers", returned(id))])  # fmt: skip


def _like_domino(id: str, action: str, status: str) -> bytes:
    about = PER_MAIL + fields(action, status, Original_Recipient=f"rfc822;{TO}")
    parts = [WORDS, (STATUS + "; charset=us-ascii", about), ("message/rfc822", returned(id))]
    return report(parts, kind="Multipart/Report; Report-Type=Delivery-Status; Boundary=r")


def _in_any_alphabet(id: str, action: str, status: str) -> bytes:
    about = PER_MAIL + fields(action, status).replace("rfc822;", "utf-8;")
    return report(
        [WORDS, ("message/global-delivery-status", about), ("message/global", returned(id))]
    )


def _with_lower_case(id: str, action: str, status: str) -> bytes:
    about = PER_MAIL + fields(action, status).lower()
    return report([WORDS, (STATUS, about), ("message/rfc822", returned(id).lower())])


def _about_two(id: str, action: str, status: str) -> bytes:
    other = fields("relayed", "2.0.0").replace(TO, "x@example.test")
    about = PER_MAIL + other + "\n" + fields(action, status)
    return report([WORDS, (STATUS, about), ("message/rfc822", returned(id) + "\nhello")])


def _without_a_status(id: str, action: str, status: str) -> bytes:
    about = PER_MAIL + fields(action, "", Diagnostic_Code=f"smtp; 550-{status} as they say")
    return report([WORDS, (STATUS, about), ("message/rfc822", returned(id) + "\nhello")])


def _with_a_long_name(id: str, action: str, status: str) -> bytes:
    head = returned(id).replace("Message-ID: ", "Message-ID:\n ")
    about = PER_MAIL + fields(action, status)
    return report([WORDS, (STATUS, about), ("message/rfc822", head + "\nhello")])


SERVERS: Mapping[str, Server] = {
    "postfix": _like_postfix,
    "postfix, headers only": _like_postfix_headers,
    "sendmail": _like_sendmail,
    "exim": _like_exim,
    "exchange": _like_exchange,
    "gmail": _like_gmail,
    "a bulk sender": _like_a_bulk_sender,
    "courier": _like_courier,
    "opensmtpd": _like_opensmtpd,
    "domino": _like_domino,
    "any alphabet (RFC 6533)": _in_any_alphabet,
    "lower case": _with_lower_case,
    "two receivers": _about_two,
    "no status": _without_a_status,
    "folded": _with_a_long_name,
}


def _old_exim(id: str) -> bytes:
    text = f"No such user.\n\n------ This is a copy ------\n\n{returned(id)}\nhello"
    return report([("", text)], kind="text/plain; charset=us-ascii", X_Failed_Recipients=TO)


def _qmail(id: str) -> bytes:
    text = (
        "Hi. This is the qmail-send program at mx.test.\nI gave up.\n\n"
        f"<{TO}>:\n550 5.1.1 nobody\n\n--- Below this line is a copy.\n\n{returned(id)}\nhello"
    )
    return report([("", text)], kind="text/plain; charset=us-ascii")


OLD: Mapping[str, Callable[[str], bytes]] = {"exim, long ago": _old_exim, "qmail": _qmail}
