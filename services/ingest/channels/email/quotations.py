"""What was written now, apart from what was quoted below it. Nothing is lost: both are kept.

quotequail finds where a quotation begins; it is told here of languages and forms it does not know.
Whoever writes below or between what they quote is not cut apart: where lines that are quoted one
by one are followed by others, the text stays whole.
"""

import re

import quotequail

LINES, WIDTH = 1000, 1000
"""Lines that are looked at, and characters of each; a quotation further down stays in the text."""
CUT = "-----Original Message-----"
"""A mark quotequail knows, put where a form stands that it does not."""

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
_OF_MAIL = re.compile(
    r"\S@\S|^\*|^(?:sent|gesendet|envoyé|надіслано|отправлено|wysłano|inviato|enviado|verzonden)\b",
    re.IGNORECASE,
)
_WHEN = re.compile(r"\d{1,2}[:.h]\d\d")
_RULE = re.compile(r"[_-]{10,}")


def split(text: str) -> tuple[str, str | None]:
    """Give what was written now, and what was quoted, if anything was.

    Together they are the text; only blank lines between the two are left out.
    """
    lines = text.split("\n")
    seen = [line.strip()[:WIDTH] for line in lines[:LINES]]
    told = quotequail.quote("\n".join(_told(seen)), limit=LINES + 1, quote_intro_line=True)
    written = told[0][1]
    cut = written.count("\n") + 1
    if len(told) == 1 or not written.strip() or _goes_on(seen[cut:]):
        return text, None
    above, below = "\n".join(lines[:cut]).rstrip(), "\n".join(lines[cut:]).strip("\n")
    return above, below


def _told(lines: list[str]) -> list[str]:
    """Put the mark that is known where a quotation begins in a form that is not."""
    for n, line in enumerate(lines):
        after = lines[n + 1] if n + 1 < len(lines) else ""
        introduced = _begins(line) or _wraps(line, after) or _dates(line, after)
        if introduced or _is_head(lines, n) or _is_tail(lines, n):
            return [*lines[:n], CUT, *lines[n + 1 :]]
    return lines


def _begins(line: str) -> bool:
    """Whether this line introduces a quotation: when and by whom it was written."""
    if line.endswith(":"):
        known = _DATE.search(line) or _ADDRESS.search(line)
        return bool((known and _WROTE.search(line)) or _DATED.fullmatch(line))
    return bool(_MARK.fullmatch(line))


def _wraps(line: str, after: str) -> bool:
    """Whether such a line goes on in the next one."""
    return bool(_DATE.search(line)) and not _DATE.search(after) and _begins(f"{line} {after}")


def _dates(line: str, after: str) -> bool:
    """Whether a line with a date introduces what is quoted in the next one, in any language."""
    return line.endswith(":") and after.startswith(">") and bool(_DATE.search(line))


def _is_head(lines: list[str], n: int) -> bool:
    """Whether the head of another mail begins here: three of its headers, or a rule and two.

    Without a rule one of them names an address, is bold or says `Sent:`, or there are four and one
    says when: people write `From:`, `To:` and `Date:`, too, of journeys.
    """
    rule = bool(_RULE.fullmatch(lines[n]))
    if not rule and not _HEADER.match(lines[n]):
        return False
    near = [line for line in lines[n + rule : n + 9] if line][:5]
    head = [line for line in near if _HEADER.match(line)]
    if rule:
        return len(head) >= 2
    certain = any(map(_OF_MAIL.search, head)) or (len(head) > 3 and any(map(_WHEN.search, head)))
    return len(head) >= 3 and certain


def _is_tail(lines: list[str], n: int) -> bool:
    """Whether everything from here on is quoted line by line, and something was written above."""
    return lines[n].startswith(">") and all(not line or line[0] == ">" for line in lines[n:])


def _goes_on(below: list[str]) -> bool:
    """Whether something is written below, or between, lines that are quoted one by one."""
    marks = [line.startswith(">") for line in below if line]
    return any(marks) and not all(marks[marks.index(True) :])
