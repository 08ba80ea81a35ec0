"""Delivery reports about our mails: not delivered (RFC 3464), read (RFC 8098), or other.

Older forms are known, too: exim's header and qmail's introduction. Our mail is named by the address
the report came to, or by the Message-ID of the returned mail; both are resolved later, where the
mailbox's secrets are known. Servers' own words may name people: only their codes are kept.
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
QMAIL_INTRODUCTION = "Hi. This is the qmail-send program"
MAX_SCANNED_CHARS = 100_000
"""Characters of a text that are searched for a report."""
RETURNED_TYPES = frozenset({"message/rfc822", "message/global", "text/rfc822-headers"})

STATUS_MEANINGS = {
    "1.0": "address", "1.1": "no such mailbox", "1.2": "no such mail server", "1.3": "bad address",
    "1.4": "ambiguous address", "1.6": "the mailbox has moved", "1.10": "takes no mail at all",
    "2.0": "mailbox", "2.1": "mailbox disabled", "2.2": "mailbox full", "2.3": "mail too large",
    "3.0": "mail system", "3.1": "mail system full", "3.4": "mail too large for the system",
    "4.0": "network", "4.1": "no answer from the server", "4.2": "bad connection",
    "4.4": "no route to the server", "4.6": "a loop of mail servers", "4.7": "given up in time",
    "5.0": "protocol", "6.0": "content", "6.1": "content refused",
    "7.0": "not allowed", "7.1": "refused by policy", "7.26": "not authenticated",
}  # fmt: skip
"""The subject and detail of a status code (RFC 3463) in plain words."""


class Report(NamedTuple):
    """The content of a report; without a state it is only noted."""

    reason: str
    state: DeliveryState | None = None
    id: str | None = None
    """The Message-ID of the mail the report is about."""
    permanent: bool = False
    """Whether the address will take no other mail either."""


def report_of(mail: Part) -> Report | None:
    """Return the report a mail is, or None."""
    if mail.get_content_type() == "multipart/report":
        return _read_multipart(mail)
    return _read_old_form(mail)


def _read_multipart(mail: Part) -> Report:
    kind = (
        mime.none_on_error(lambda: str(mail.get_param("report-type") or "")) or "unnamed"
    ).lower()
    noted = Report(mime.header_line(f"an automatic report: {kind}", 100))
    parts = _subparts(mail)
    for part in parts:
        match part.get_content_type():
            case "message/delivery-status" | "message/global-delivery-status":
                return _read_delivery_status(part, parts, noted)
            case "message/disposition-notification":
                return _read_disposition(part, noted)
    return noted


def _read_delivery_status(part: Part, parts: list[Part], noted: Report) -> Report:
    """Read the state of each recipient: the worst counts, because our mails have only one."""
    recipients = [_recipient_status(candidate) for candidate in _field_groups(part)]
    id = next(
        (id for candidate in parts if (id := _returned_message_id(candidate)) is not None), None
    )
    failed = [status for action, status in recipients if action == "failed"]
    if failed:
        return Report(bounce_reason(failed[0]), "failed", id, takes_no_mail(failed[0]))
    if any(action == "delivered" for action, _ in recipients):
        return Report("delivered", "delivered", id)
    word = next((action for action, _ in recipients if action), "without an action")
    return Report(mime.header_line(f"{noted.reason}, {word}", 100))


def _subparts(part: Part) -> list[Part]:
    """Return the parts of a part; in a report these are groups of fields, or the returned mail."""
    inner = part.get_payload()
    return (
        [member for member in inner if not isinstance(member, str)]
        if isinstance(inner, list)
        else []
    )


def _field_groups(part: Part) -> Iterator[dict[str, str]]:
    """Yield the groups of fields of a part; of an unknown type of part, from its text."""
    for member in _subparts(part) or [part]:
        yield {key.lower(): value for key, value in member.raw_items()}
        for group in re.split(
            r"\n\s*\n", mime.text_of(member)[:MAX_SCANNED_CHARS].replace("\r", "")
        ):
            yield {key.lower(): value for key, value in _FIELD.findall(group)}


def _recipient_status(fields: dict[str, str]) -> tuple[str, str]:
    """Return the action and the status code of a recipient; a group may be about the whole mail."""
    action = mime.header_line(fields.get("action", "").partition("(")[0], 20).strip().lower()
    status = _STATUS.search(fields.get("status", "")) or _STATUS.search(
        fields.get("diagnostic-code", "")
    )
    return action, status[0] if status else ""


def bounce_reason(status: str) -> str:
    """Return a status code as a reason in words."""
    meaning = STATUS_MEANINGS.get(status.partition(".")[2]) or STATUS_MEANINGS.get(
        f"{status[2:3]}.0"
    )
    code = f": {status}" if status else ""
    return f"bounced{code} ({meaning})" if meaning else f"bounced{code}"


def _read_disposition(part: Part, noted: Report) -> Report:
    """Read whether the recipient's program displayed our mail."""
    fields = {
        key.lower(): value
        for member in [part, *_subparts(part)]
        for key, value in member.raw_items()
    }
    disposition = (
        mime.header_line(fields.get("disposition", "").rpartition(";")[2], 40).strip().lower()
    )
    if disposition.split("/")[0] != "displayed":
        return noted
    found = _ID.search(f"message-id: {fields.get('original-message-id', '').strip()}")
    return Report("displayed", "read", found[1] if found else None)


def _returned_message_id(part: Part) -> str | None:
    """Return the Message-ID of the mail a part returns."""
    if part.get_content_type() not in RETURNED_TYPES:
        return None
    heads = (f"{name}: {value}" for member in _subparts(part) for name, value in member.raw_items())
    return next(filter(None, map(_message_id_in, heads)), None) or _message_id_in(
        mime.text_of(part)
    )


def _message_id_in(text: str) -> str | None:
    found = _ID.search(text[:MAX_SCANNED_CHARS])
    return found[1] if found else None


def _read_old_form(mail: Part) -> Report | None:
    """Read a bounce in the forms older than RFC 3464, or return None."""
    failed = any(key.lower() == "x-failed-recipients" for key in mail)
    if not failed and "mailer-daemon" not in str(mail.get("from", "")).lower():
        return None
    texts = (part for _, part, _ in mime.leaves(mail) if part.get_content_maintype() == "text")
    text = "\n".join(mime.text_of(leaf)[:MAX_SCANNED_CHARS] for leaf in texts)
    if not failed and not text.lstrip().startswith(QMAIL_INTRODUCTION):
        return None
    found = _STATUS.search(text)
    status = found[0] if found else ""
    return Report(bounce_reason(status), "failed", _message_id_in(text), takes_no_mail(status))
