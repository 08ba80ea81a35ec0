"""What machines write: bounces, absences, lists, receipts and other reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reporting import OLD, PER_MAIL, SERVERS, STATUS, TO, WORDS, fields, report

from mail_corpus import Case

if TYPE_CHECKING:
    from collections.abc import Iterator

ID = "<5f0c9d52-7f0e-4a53-9c0e-3a6d2b1f4e11@desk.test>"
CODES = ("5.1.1", "5.2.2", "4.4.7", "5.7.1")

AWAY = {
    "uk": "Автоматична відповідь: я у відпустці",
    "en": "Automatic reply: out of office",
    "de": "Automatische Antwort: nicht im Büro",
    "fr": "Réponse automatique : absent du bureau",
    "es": "Respuesta automática: fuera de la oficina",
    "it": "Risposta automatica: fuori ufficio",
    "pl": "Automatyczna odpowiedź: poza biurem",
    "cs": "Automatická odpověď: mimo kancelář",
    "pt": "Resposta automática: fora do escritório",
    "nl": "Automatisch antwoord: niet aanwezig",
    "ro": "Răspuns automat: plecat din birou",
    "ja": "自動応答：不在にしております",
}
SAID = {
    "Auto-Submitted: auto-replied": "auto-submitted",
    "Auto-Submitted: auto-generated; x=y": "auto-submitted",
    "Precedence: bulk\r\nX-Autoreply: yes": "precedence",
    "X-Auto-Response-Suppress: All": "x-auto-response-suppress",
}

OTHERS = {
    "a newsletter": (
        "List-Unsubscribe: <mailto:u@x.test>\r\nList-Id: <n.x.test>",
        "a mailing list",
    ),
    "a discussion": ("List-Post: <mailto:l@x.test>\r\nPrecedence: list", "a mailing list"),
    "an owner": ("Sender: owner-l@x.test", "the address of a machine"),
    "a question whether a person writes": (
        "Auto-Submitted: auto-replied\r\nX-C: 1",
        "auto-submitted",
    ),
    "an invitation": ("Content-Type: text/calendar; method=REQUEST; charset=utf-8", None),
    "an answer to one": ("Content-Type: text/calendar; method=REPLY", None),
    "a voice box": ("X-Autorespond: voice", "x-autorespond"),
    "a monitor": ("Auto-Submitted: auto-generated\r\nX-Priority: 1", "auto-submitted"),
    "a fax machine": ("From: no-reply@fax.test", "the address of a machine"),
    "a ticket system": ("Precedence: bulk\r\nX-RT-Loop-Prevention: x", "precedence"),
    "a person": ("X-Mailer: Mail", None),
}


def away() -> Iterator[Case]:
    for language, subject in AWAY.items():
        for head, sign in SAID.items():
            lines = f"From: {TO}\r\nSubject: {subject}\r\n{head}\r\n\r\n{subject}."
            told = {"no_auto_response": sign, "asked.title": subject}
            yield Case(f"away in {language}: {head.splitlines()[-1]}", lines.encode(), told=told)


def cases() -> Iterator[Case]:
    """Give the class."""
    for server, write in SERVERS.items():
        for code in CODES:
            told = {"kind": "receipt", "state": "failed", "reason": lambda r, c=code: c in r}
            yield Case(f"{server}: {code}", write(ID, "failed", code), told=told)
        yield Case(f"{server}: delayed", write(ID, "delayed", "4.4.1"), told={"kind": "noted"})
    for server, old in OLD.items():
        yield Case(server, old(ID), told={"kind": "receipt", "state": "failed"})
    yield from away()
    for what, (head, sign) in OTHERS.items():
        first = "" if "From:" in head else f"From: {TO}\r\n"
        body = f"{first}{head}\r\nSubject: x\r\n\r\nx".encode()
        yield Case(what, body, told={"kind": "message", "no_auto_response": sign})
    for kind, part in {
        "feedback-report": "message/feedback-report",
        "tlsrpt": "application/tlsrpt+gzip",
        "disposition-notification": "message/disposition-notification",
        "dmarc": "application/zip",
    }.items():
        told_as = f'multipart/report; report-type={kind}; boundary="r"'
        yield Case(kind, report([WORDS, (part, "x: y\n")], kind=told_as), told={"kind": "noted"})
    many = "\n".join(fields("failed", "5.1.1") for _ in range(150))
    yield Case("a report about 150", report([WORDS, (STATUS, PER_MAIL + many)]))
