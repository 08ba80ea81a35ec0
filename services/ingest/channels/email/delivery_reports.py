"""Reports of machines about our mails: not delivered (RFC 3464), read (RFC 8098), or neither.

Older forms are known, too: exim's header, qmail's introduction. Whose mail it was is told by the
address the report came to, or by the Message-ID of what is returned; both are looked at later,
where our secrets are. What a server says in its own words may name people: only its codes are kept.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from ingest.channels.email import mime
from ingest.channels.email.mime import Part
from trunkline_contracts.addresses import takes_no_mail
from trunkline_contracts.parts import DeliveryState

_ID = re.compile(r"^\s{0,9}message-id:\s{0,9}(<[!-;=?-~]{1,250}>)", re.IGNORECASE | re.MULTILINE)
_FIELD = re.compile(r"^([A-Za-z-]{1,40}):[ \t]{0,9}(.{0,500})$", re.MULTILINE)
_STATUS = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
QMAIL = "Hi. This is the qmail-send program"
LOOKED_AT = 100_000
"""Characters of a text in which a report is looked for."""
RETURNED = frozenset({"message/rfc822", "message/global", "text/rfc822-headers"})

MEANING = {
    "1.0": "address", "1.1": "no such mailbox", "1.2": "no such mail server", "1.3": "bad address",
    "1.4": "ambiguous address", "1.6": "the mailbox has moved", "1.10": "takes no mail at all",
    "2.0": "mailbox", "2.1": "mailbox disabled", "2.2": "mailbox full", "2.3": "mail too large",
    "3.0": "mail system", "3.1": "mail system full", "3.4": "mail too large for the system",
    "4.0": "network", "4.1": "no answer from the server", "4.2": "bad connection",
    "4.4": "no route to the server", "4.6": "a loop of mail servers", "4.7": "given up in time",
    "5.0": "protocol", "6.0": "content", "6.1": "content not taken",
    "7.0": "not allowed", "7.1": "refused by policy", "7.26": "not authenticated",
}  # fmt: skip
"""What subject and detail of a status mean (RFC 3463), in our words."""


class Report(NamedTuple):
    """What a report says; without a state it is only noted."""

    reason: str
    state: DeliveryState | None = None
    id: str | None = None
    """The Message-ID of the mail it is about."""
    permanent: bool = False
    """Whether the address will take no other mail either."""


def report_of(mail: Part) -> Report | None:
    """Say what a mail reports, if it is a report."""
    if mail.get_content_type() == "multipart/report":
        return _multipart(mail)
    return _plain(mail)


def _multipart(mail: Part) -> Report:
    kind = (mime.quietly(lambda: str(mail.get_param("report-type") or "")) or "unnamed").lower()
    noted = Report(mime.line(f"a report of a machine: {kind}", 100))
    parts = _inner(mail)
    for part in parts:
        match part.get_content_type():
            case "message/delivery-status" | "message/global-delivery-status":
                return _delivery(part, parts, noted)
            case "message/disposition-notification":
                return _disposition(part, noted)
    return noted


def _delivery(part: Part, parts: list[Part], noted: Report) -> Report:
    """Read what became of each receiver: the worst counts, for ours have but one."""
    found = [_receiver(each) for each in _groups(part)]
    id = next((id for each in parts if (id := _returned(each)) is not None), None)
    failed = [status for action, status in found if action == "failed"]
    if failed:
        return Report(bounced(failed[0]), "failed", id, takes_no_mail(failed[0]))
    if any(action == "delivered" for action, _ in found):
        return Report("delivered", "delivered", id)
    word = next((action for action, _ in found if action), "without an action")
    return Report(mime.line(f"{noted.reason}, {word}", 100))


def _inner(part: Part) -> list[Part]:
    """Give the parts of a part; of a report's these are groups of fields, or what it returns."""
    inner = part.get_payload()
    return [each for each in inner if not isinstance(each, str)] if isinstance(inner, list) else []


def _groups(part: Part) -> Iterator[dict[str, str]]:
    """Give the groups of fields of a part; of one of a kind the parser does not know, all text."""
    for each in _inner(part) or [part]:
        yield {key.lower(): value for key, value in each.raw_items()}
        for group in re.split(r"\n\s*\n", mime.text_of(each)[:LOOKED_AT].replace("\r", "")):
            yield {key.lower(): value for key, value in _FIELD.findall(group)}


def _receiver(told: dict[str, str]) -> tuple[str, str]:
    """Give what was done for a receiver, and its code; a group may be about the whole mail."""
    action = mime.line(told.get("action", "").partition("(")[0], 20).strip().lower()
    status = _STATUS.search(told.get("status", "")) or _STATUS.search(
        told.get("diagnostic-code", "")
    )
    return action, status[0] if status else ""


def bounced(status: str) -> str:
    """Say in words what a code means."""
    meaning = MEANING.get(status.partition(".")[2]) or MEANING.get(f"{status[2:3]}.0")
    told = f": {status}" if status else ""
    return f"bounced{told} ({meaning})" if meaning else f"bounced{told}"


def _disposition(part: Part, noted: Report) -> Report:
    """Read what its reader's program did with a mail."""
    told = {key.lower(): value for each in [part, *_inner(part)] for key, value in each.raw_items()}
    done = mime.line(told.get("disposition", "").rpartition(";")[2], 40).strip().lower()
    if done.split("/")[0] != "displayed":
        return noted
    found = _ID.search(f"message-id: {told.get('original-message-id', '').strip()}")
    return Report("displayed", "read", found[1] if found else None)


def _returned(part: Part) -> str | None:
    """Give the Message-ID of what a part returns."""
    if part.get_content_type() not in RETURNED:
        return None
    heads = (f"{name}: {value}" for each in _inner(part) for name, value in each.raw_items())
    return next(filter(None, map(_id_in, heads)), None) or _id_in(mime.text_of(part))


def _id_in(text: str) -> str | None:
    found = _ID.search(text[:LOOKED_AT])
    return found[1] if found else None


def _plain(mail: Part) -> Report | None:
    """Know a bounce in the forms that were there before RFC 3464."""
    failed = any(key.lower() == "x-failed-recipients" for key in mail)
    if not failed and "mailer-daemon" not in str(mail.get("from", "")).lower():
        return None
    texts = (part for _, part, _ in mime.leaves(mail) if part.get_content_maintype() == "text")
    text = "\n".join(mime.text_of(each)[:LOOKED_AT] for each in texts)
    if not failed and not text.lstrip().startswith(QMAIL):
        return None
    found = _STATUS.search(text)
    status = found[0] if found else ""
    return Report(bounced(status), "failed", _id_in(text), takes_no_mail(status))
