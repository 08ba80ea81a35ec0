"""Telephony: one call event per delivery, as JSON or as a form, in each provider's own words.

The account's `field_mapping` maps the provider's fields to ours
(docs.connectiveone.io/en/telephony/how-to/configure-telephony-channel.html); a field with our own
name needs no mapping. A call is one conversation, and each of its events is one message in it.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, get_args
from urllib.parse import parse_qsl

from ingest.channels.parsing import (
    MAX_NAME_CHARS,
    digest,
    identifier,
    parse,
    parse_timestamp,
    text_or_none,
    url_or_none,
)
from ingest.domain.items import InboundItem, Person, RawDelivery, RequestAttributes, Unreadable
from ingest.domain.text import clean
from trunkline_contracts.addresses import phone_number
from trunkline_contracts.parts import Attachment
from trunkline_workspace.channels import CallField

CALL_FIELDS: tuple[str, ...] = get_args(CallField)
"""The known fields of a call: the targets of `field_mapping`."""

_SYNONYMS = {
    "ringing": "ring start started incoming initiated new",
    "answered": "answer connected in_progress up",
    "ended": "end hangup completed finished disconnected released",
    "missed": "no_answer noanswer busy cancelled canceled failed rejected abandoned unanswered",
    "recording": "record recorded recording_ready recording_completed",
    "transcript": "transcription transcribed transcript_ready transcription_completed",
}
KIND_OF_WORD = MappingProxyType(
    {name: kind for kind, more in _SYNONYMS.items() for name in more.split()}
)
"""Event kinds by the providers' words for them, without the prefix `call.`."""
KNOWN_KINDS = frozenset(_SYNONYMS)

OUTBOUND_WORDS = frozenset({"out", "outbound", "outgoing", "outbound-api", "outbound-dial"})

_SEPARATORS = re.compile(r"[^a-z0-9]+")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_PHONE_NUMBER = re.compile(r"\+?[0-9]{3,20}")
MAX_PATH_DEPTH = 10
MAX_TRANSCRIPT_CHARS = 100_000
"""Characters kept of a transcript; the delivery itself is stored whole."""


def read(raw: RawDelivery) -> tuple[InboundItem, ...]:
    """Read one event; duplicates are recognised by the call, the kind and the content."""
    body = _body(raw.body)
    fields = call_fields(body, raw.mapping)
    call = identifier(fields.get("call_id"))
    if call is None:
        expected_path = next(
            (path for path, field in raw.mapping.items() if field == "call_id"), "call_id"
        )
        raise Unreadable(clean(f"{expected_path[:100]} is missing, or neither a number nor a text"))
    kind = _kind(fields)
    content_digest = digest([call, kind, _normalized(fields) if kind in KNOWN_KINDS else body])
    at = parse_timestamp(fields.get("at"))
    address, line = _ends(fields)
    name = text_or_none(fields.get("name"), MAX_NAME_CHARS)
    return (
        InboundItem(
            "message",
            f"{call[:100]}:{kind}:{content_digest[:32]}",
            content_digest,
            conversation=call,
            person=None if address is None else Person(address, name, phone=_phone(address)),
            text="\n".join(
                filter(None, (_headline(kind, fields, address, line), *_transcript_lines(fields)))
            ),
            sent_at=None if at is None else min(at, raw.received_at),
            asked=RequestAttributes(
                title=f"Call {call}" if address is None else f"Call: {address}"
            ),
            attachments=_attachments(fields),
        ),
    )


def call_fields(body: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of an event by our names; a mapped field outweighs one with our name."""
    fields = {field: body[field] for field in CALL_FIELDS if body.get(field) not in (None, "")}
    for path, field in mapping.items():
        value = _value_at(body, path)
        if field in CALL_FIELDS and value not in (None, ""):
            fields[field] = value
    return fields


def _body(body: bytes) -> dict[str, Any]:
    """Parse an object, or a form whose names may nest, such as `call[id]`."""
    if body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        return parse(body.removeprefix(b"\xef\xbb\xbf"))
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=500)
    except ValueError:
        raise Unreadable("the body is neither JSON nor a form") from None
    if not pairs or not any("=" in pair for pair in body.decode().split("&")):
        raise Unreadable("the body is neither JSON nor a form")
    return {_BRACKETS.sub(r".\1", name): value for name, value in pairs}


def _value_at(body: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path; a key that contains dots itself is found, too."""
    if path in body:
        return body[path]
    value: Any = body
    for step in path.split(".", MAX_PATH_DEPTH):
        if isinstance(value, list) and step.isascii() and step.isdigit():
            value = value[int(step)] if int(step[:9]) < len(value) else None
        else:
            value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _kind(fields: Mapping[str, Any]) -> str:
    """Return the kind of an event; without one, the kind its content implies."""
    word = text_or_none(fields.get("event"), 64)
    if word is None:
        found = [key for key in ("transcript", "recording") if key in fields]
        return found[0] if found else "event"
    normalized = _SEPARATORS.sub("_", word.strip().lower()).removeprefix("call_")
    return normalized if normalized in KNOWN_KINDS else KIND_OF_WORD.get(normalized, word.strip())


def _normalized(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields with numbers as text, because forms have only texts."""
    return {
        field: str(value).strip() if isinstance(value, int | float | str) else value
        for field, value in fields.items()
        if field not in {"call_id", "event"}
    }


def _ends(fields: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the customer's number and ours."""
    numbers = (identifier(fields.get(end)) for end in ("from", "to"))
    caller, called = (None if number is None else phone_number(number) for number in numbers)
    direction = (text_or_none(fields.get("direction"), 64) or "").strip().lower()
    return (called, caller) if direction in OUTBOUND_WORDS else (caller, called)


def _phone(address: str) -> str | None:
    return address if _PHONE_NUMBER.fullmatch(address) else None


def _headline(kind: str, fields: Mapping[str, Any], address: str | None, line: str | None) -> str:
    ends = f" {address or 'unknown'}" + (f" → {line}" if line else "")
    match kind:
        case "ringing" | "missed":
            label = f"[call {kind}]{ends}"
        case "ended":
            label = f"[call ended]{_duration(fields.get('duration'))}"
        case "answered" | "recording" | "transcript":
            label = f"[call {kind}]"
        case _:
            label = f"[call: {kind}]"
    operator, reason = (
        text_or_none(fields.get(key), MAX_NAME_CHARS) for key in ("operator", "reason")
    )
    extras = (_recording_text(fields), operator and f"by {operator}", reason and f"({reason})")
    return " ".join([label, *filter(None, extras)])


def _duration(duration: Any) -> str:
    seconds_text = identifier(duration)
    if seconds_text is None or not (
        seconds_text.isascii() and seconds_text.isdigit() and len(seconds_text) < 7
    ):
        return ""
    minutes, seconds = divmod(int(seconds_text), 60)
    return f" after {minutes} min {seconds} s" if minutes else f" after {seconds} s"


def _recording_text(fields: Mapping[str, Any]) -> str | None:
    """Return where a recording is, if that is no URL."""
    text = text_or_none(fields.get("recording"), MAX_NAME_CHARS)
    return None if text is None or url_or_none(fields.get("recording")) else text


def _attachments(fields: Mapping[str, Any]) -> tuple[Attachment, ...]:
    url = url_or_none(fields.get("recording"))
    return () if url is None else (Attachment(name="recording", url=url),)


def _transcript_lines(fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a transcript: a text, or turns of a speaker and their text."""
    transcript, left = fields.get("transcript"), MAX_TRANSCRIPT_CHARS
    for turn in transcript if isinstance(transcript, list) else [transcript]:
        speaker = text_or_none(turn.get("speaker"), 64) if isinstance(turn, Mapping) else None
        text = text_or_none(turn.get("text") if isinstance(turn, Mapping) else turn, max(left, 1))
        if text is not None and left > 0:
            left -= len(text)
            yield f"{speaker}: {text}" if speaker else text
