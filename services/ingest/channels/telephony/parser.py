"""Telephony: one event of a call per delivery, as JSON or as a form, in each provider's own words.

docs.connectiveone.io/en/telephony/how-to/configure-telephony-channel.html: the account's
`field_mapping` says which of the provider's fields stands for which of ours; a field named as ours
needs no mapping. A call is one conversation; each event of it is one entry there. Long, as
providers tell the same in many forms.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from ingest.channels.parsing import SHORT, digest, instant_of, link, named, parse, words
from ingest.domain.items import Asked, Item, Person, Raw, Unreadable
from ingest.domain.text import clean
from trunkline_contracts.addresses import phone_number
from trunkline_contracts.parts import Attachment

FIELDS = (
    "call_id",
    "event",
    "direction",
    "from",
    "to",
    "name",
    "operator",
    "at",
    "duration",
    "recording",
    "transcript",
    "reason",
)
"""What is known of a call: the words `field_mapping` maps to."""

_SAME = {
    "ringing": "ring start started incoming initiated new",
    "answered": "answer connected in_progress up",
    "ended": "end hangup completed finished disconnected released",
    "missed": "no_answer noanswer busy cancelled canceled failed rejected abandoned unanswered",
    "recording": "record recorded recording_ready recording_completed",
    "transcript": "transcription transcribed transcript_ready transcription_completed",
}
KINDS = MappingProxyType({name: kind for kind, more in _SAME.items() for name in more.split()})
"""What providers call the kinds of events, `call.` before it or not, and what they are here."""
KNOWN = frozenset(_SAME)

OUT = frozenset({"out", "outbound", "outgoing", "outbound-api", "outbound-dial"})

_SIGNS = re.compile(r"[^a-z0-9]+")
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_NUMBER = re.compile(r"\+?[0-9]{3,20}")
DEEPEST = 10
LONGEST = 100_000
"""Characters of a transcript that go into a request; the delivery itself is kept whole."""


def read(raw: Raw) -> tuple[Item, ...]:
    """Read one event; by the call, its kind and what it says it is known again."""
    body = _body(raw.body)
    said = fields_of(body, raw.mapping)
    call = named(said.get("call_id"))
    if call is None:
        where = next((path for path, field in raw.mapping.items() if field == "call_id"), "call_id")
        raise Unreadable(clean(f"{where[:100]} is missing, or neither a number nor a text"))
    kind = _kind(said)
    told = digest([call, kind, _settled(said) if kind in KNOWN else body])
    at = instant_of(said.get("at"))
    address, line = _ends(said)
    name = words(said.get("name"), SHORT)
    return (
        Item(
            "message",
            f"{call[:100]}:{kind}:{told[:32]}",
            told,
            conversation=call,
            person=None if address is None else Person(address, name, phone=_phone(address)),
            text="\n".join(filter(None, (_headline(kind, said, address, line), *_lines(said)))),
            sent_at=None if at is None else min(at, raw.received_at),
            asked=Asked(title=f"Call {call}" if address is None else f"Call: {address}"),
            attachments=_attachments(said),
        ),
    )


def fields_of(body: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """Give what a body says in our words; a mapped field counts, if there is one."""
    said = {field: body[field] for field in FIELDS if body.get(field) not in (None, "")}
    for path, field in mapping.items():
        value = _at(body, path)
        if field in FIELDS and value not in (None, ""):
            said[field] = value
    return said


def _body(body: bytes) -> dict[str, Any]:
    """Read an object, or a form whose names may nest, as `call[id]` does."""
    if body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        return parse(body.removeprefix(b"\xef\xbb\xbf"))
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=500)
    except ValueError:
        raise Unreadable("the body is neither JSON nor a form") from None
    if not pairs or not any("=" in each for each in body.decode().split("&")):
        raise Unreadable("the body is neither JSON nor a form")
    return {_BRACKETS.sub(r".\1", name): value for name, value in pairs}


def _at(body: Mapping[str, Any], path: str) -> Any:
    """Follow a dotted path; a name that has dots itself is found, too."""
    if path in body:
        return body[path]
    value: Any = body
    for step in path.split(".", DEEPEST):
        if isinstance(value, list) and step.isascii() and step.isdigit():
            value = value[int(step)] if int(step[:9]) < len(value) else None
        else:
            value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _kind(said: Mapping[str, Any]) -> str:
    """Name the kind of an event; one that says none is known by what it brings."""
    told = words(said.get("event"), 64)
    if told is None:
        found = [each for each in ("transcript", "recording") if each in said]
        return found[0] if found else "event"
    bare = _SIGNS.sub("_", told.strip().lower()).removeprefix("call_")
    return bare if bare in KNOWN else KINDS.get(bare, told.strip())


def _settled(said: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out how a value is written: a form's numbers are texts, an object's may be numbers."""
    return {
        field: str(value).strip() if isinstance(value, int | float | str) else value
        for field, value in said.items()
        if field not in {"call_id", "event"}
    }


def _ends(said: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Give the customer's end of a call, and ours."""
    told = (named(said.get(end)) for end in ("from", "to"))
    caller, called = (None if each is None else phone_number(each) for each in told)
    direction = (words(said.get("direction"), 64) or "").strip().lower()
    return (called, caller) if direction in OUT else (caller, called)


def _phone(address: str) -> str | None:
    return address if _NUMBER.fullmatch(address) else None


def _headline(kind: str, said: Mapping[str, Any], address: str | None, line: str | None) -> str:
    ends = f" {address or 'unknown'}" + (f" → {line}" if line else "")
    match kind:
        case "ringing" | "missed":
            what = f"[call {kind}]{ends}"
        case "ended":
            what = f"[call ended]{_lasting(said.get('duration'))}"
        case "answered" | "recording" | "transcript":
            what = f"[call {kind}]"
        case _:
            what = f"[call: {kind}]"
    operator, reason = (words(said.get(each), SHORT) for each in ("operator", "reason"))
    also = (_unlinked(said), operator and f"by {operator}", reason and f"({reason})")
    return " ".join([what, *filter(None, also)])


def _lasting(duration: Any) -> str:
    told = named(duration)
    if told is None or not (told.isascii() and told.isdigit() and len(told) < 7):
        return ""
    minutes, seconds = divmod(int(told), 60)
    return f" after {minutes} min {seconds} s" if minutes else f" after {seconds} s"


def _unlinked(said: Mapping[str, Any]) -> str | None:
    """Give where a recording is when that is no address that can be followed."""
    told = words(said.get("recording"), SHORT)
    return None if told is None or link(said.get("recording")) else told


def _attachments(said: Mapping[str, Any]) -> tuple[Attachment, ...]:
    where = link(said.get("recording"))
    return () if where is None else (Attachment(name="recording", url=where),)


def _lines(said: Mapping[str, Any]) -> Iterator[str]:
    """Write a transcript down: a text, or turns with who speaks and what is said."""
    transcript, left = said.get("transcript"), LONGEST
    for turn in transcript if isinstance(transcript, list) else [transcript]:
        who = words(turn.get("speaker"), 64) if isinstance(turn, Mapping) else None
        text = words(turn.get("text") if isinstance(turn, Mapping) else turn, max(left, 1))
        if text is not None and left > 0:
            left -= len(text)
            yield f"{who}: {text}" if who else text
