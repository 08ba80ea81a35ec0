"""Separate the newly written text from the quotation below it. Nothing is lost: both are kept.

quotequail finds quotations; languages and forms it does not know are marked for it here. A reply
written below or between quoted lines is not split: if quoted lines are followed by others, the text
stays whole.
"""

import re

import quotequail

MAX_LINES, MAX_LINE_CHARS = 1000, 1000
"""Lines that are searched, and characters of each; a quotation further down stays in the text."""
KNOWN_MARK = "-----Original Message-----"
"""A mark quotequail knows, inserted where it does not recognise a quotation."""

_WROTE = re.compile(
    r"(?:^|\s)(?:пише|написав\S*|написала|пишет|написал\S*|wrote|writes|schrieb|schreef|"
    r"a [ée]crit|ha scritto|escribi[óo]|escreveu|napisał\S*|napsal\S*|skrev|kirjoitti|yazd[ıi]|"
    r"píše|írta|a scris)\s?:$",
    re.IGNORECASE,
)
_DATE = re.compile(r"\d{1,2}[:.]\d\d|\b\d{4}\b")
_ADDRESS = re.compile(r"<[^<>@\s]{1,100}@[^<>@\s]{1,100}>")
_DATED = re.compile(r"\S{1,6},? \d[^<>]{10,150}<[^<>@\s]{1,100}@[^<>@\s]{1,100}>\s?:")
_MARK = re.compile(
    r"[-_*=]{2,} ?(?:переслане повідомлення|вихідне повідомлення|оригінальне повідомлення|"
    r"пересланное сообщение|исходное сообщение|original message|original appointment|"
    r"forwarded message|reply message|messaggio originale|messaggio inoltrato|"
    r"mensagem original|wiadomość oryginalna|původní zpráva) ?[-_*=]{2,}",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"\*?(?:from|sent|date|to|subject|cc|von|gesendet|datum|an|betreff|de|envoyé|objet|à|"
    r"від|надіслано|дата|кому|тема|від кого|копія|от|отправлено|от кого|копия|od|wysłano|do|"
    r"temat|da|inviato|a|oggetto|para|enviado|assunto|asunto|van|verzonden|aan|onderwerp)"
    r"(?:\*:|:\*?| :)\s",
    re.IGNORECASE,
)
_CERTAIN_HEADER = re.compile(
    r"\S@\S|^\*|^(?:sent|gesendet|envoyé|надіслано|отправлено|wysłano|inviato|enviado|verzonden)\b",
    re.IGNORECASE,
)
_TIME = re.compile(r"\d{1,2}[:.h]\d\d")
_RULE = re.compile(r"[_-]{10,}")


def split(text: str) -> tuple[str, str | None]:
    """Return the new text, and the quotation, if any.

    Only the blank lines between them are left out.
    """
    lines = text.split("\n")
    visible = [line.strip()[:MAX_LINE_CHARS] for line in lines[:MAX_LINES]]
    parts = quotequail.quote(
        "\n".join(_mark_quotation(visible)), limit=MAX_LINES + 1, quote_intro_line=True
    )
    written = parts[0][1]
    written_lines = written.count("\n") + 1
    if len(parts) == 1 or not written.strip() or _has_reply_below(visible[written_lines:]):
        return text, None
    above, below = (
        "\n".join(lines[:written_lines]).rstrip(),
        "\n".join(lines[written_lines:]).strip("\n"),
    )
    return above, below


def _mark_quotation(lines: list[str]) -> list[str]:
    """Insert the known mark where a quotation begins in an unknown form."""
    for n, line in enumerate(lines):
        after = lines[n + 1] if n + 1 < len(lines) else ""
        introduced = (
            _is_introduction(line)
            or _is_wrapped_introduction(line, after)
            or _is_dated_introduction(line, after)
        )
        if introduced or _is_header_block(lines, n) or _is_quoted_to_the_end(lines, n):
            return [*lines[:n], KNOWN_MARK, *lines[n + 1 :]]
    return lines


def _is_introduction(line: str) -> bool:
    """Return whether a line introduces a quotation: the time and the author of what follows."""
    if line.endswith(":"):
        dated = _DATE.search(line) or _ADDRESS.search(line)
        return bool((dated and _WROTE.search(line)) or _DATED.fullmatch(line))
    return bool(_MARK.fullmatch(line))


def _is_wrapped_introduction(line: str, after: str) -> bool:
    """Return whether an introduction continues on the next line."""
    return (
        bool(_DATE.search(line)) and not _DATE.search(after) and _is_introduction(f"{line} {after}")
    )


def _is_dated_introduction(line: str, after: str) -> bool:
    """Return whether a line with a date introduces quoted lines, in any language."""
    return line.endswith(":") and after.startswith(">") and bool(_DATE.search(line))


def _is_header_block(lines: list[str], n: int) -> bool:
    """Return whether another mail's headers begin here: three of them, or a rule and two.

    Without a rule, one of them must name an address, be bold or be `Sent:`; or there must be four
    with a time: people write `From:`, `To:` and `Date:` about journeys, too.
    """
    rule = bool(_RULE.fullmatch(lines[n]))
    if not rule and not _HEADER.match(lines[n]):
        return False
    nearby = [line for line in lines[n + rule : n + 9] if line][:5]
    headers = [line for line in nearby if _HEADER.match(line)]
    if rule:
        return len(headers) >= 2
    certain = any(map(_CERTAIN_HEADER.search, headers)) or (
        len(headers) > 3 and any(map(_TIME.search, headers))
    )
    return len(headers) >= 3 and certain


def _is_quoted_to_the_end(lines: list[str], n: int) -> bool:
    """Return whether all lines from here on are quoted."""
    return lines[n].startswith(">") and all(not line or line[0] == ">" for line in lines[n:])


def _has_reply_below(below: list[str]) -> bool:
    """Return whether text follows quoted lines or stands between them."""
    marks = [line.startswith(">") for line in below if line]
    return any(marks) and not all(marks[marks.index(True) :])
