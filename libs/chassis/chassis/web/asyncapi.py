"""The AsyncAPI 3 document of a service: every fact it says and hears, where, and in what form.

It is made of what the service runs on, its readers and the contracts, so it cannot tell of anything
else. Served as JSON; nobody can publish through it. Long, as the document is one tree.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chassis.messaging.reader import Reader
from chassis.web.json_schema import PREFIX, hoist_defs
from trunkline_contracts import BY_NAME, Fact
from trunkline_contracts.fact import SLOTS
from trunkline_contracts.schema import schema_of

CLOUDEVENT = "application/cloudevents+json"
HEADERS = {
    "Nats-Msg-Id": "The fact's id; told twice, it is the same.",
    "Trunkline-Position": "The fact's place in its owner's log.",
    "Trunkline-Previous": "The place of the fact before it in the same slot.",
}
SLOT = {
    "description": f"Two digits: crc32 of the key, modulo {SLOTS}.",
    "enum": [f"{slot:02d}" for slot in range(SLOTS)],
}
RAW = "inbound.{channel}.{account}.{slot}.{inbound_id}"
PARKED = "parked.{service}.{reader}"


@dataclass(frozen=True)
class RequestReply:
    """A subject on which a service answers whoever asks, and in what form."""

    subject: str
    meaning: str
    takes: Mapping[str, Any]
    gives: Mapping[str, Any]


class _Document:
    def __init__(self) -> None:
        self.channels: dict[str, Any] = {}
        self.operations: dict[str, Any] = {}
        self.messages: dict[str, Any] = {}
        self.schemas: dict[str, Any] = {}

    def channel(
        self, name: str, address: str | None, message: Mapping[str, Any], **more: Any
    ) -> None:
        """Name a subject and what travels on it."""
        self.messages[name] = {"name": name, **hoist_defs(dict(message), self.schemas)}
        told: dict[str, Any] = {"address": address, **more}
        told["messages"] = {name: {"$ref": f"#/components/messages/{name}"}}
        tokens = [word[1:-1] for word in (address or "").split(".") if word[:1] == "{"]
        if tokens:
            told["parameters"] = {word: SLOT if word == "slot" else {} for word in tokens}
        self.channels[name] = told

    def operation(self, action: str, channel: str, reply: str | None = None) -> None:
        """Say what the service does there: `send` or `receive`."""
        told = {"action": action, **_to(channel)}
        if reply is not None:
            told["reply"] = _to(reply)
        self.operations[f"{action}.{channel}"] = told

    def fact(self, kind: type[Fact]) -> str:
        """Name a kind of fact, its subject and its stream."""
        name = kind.name()
        schema = schema_of(kind)
        schema.pop("$schema")
        self.schemas[name] = hoist_defs(schema, self.schemas)
        message = {
            "title": kind.__name__,
            "summary": schema["description"],
            "contentType": CLOUDEVENT,
            "headers": _headers(),
            "payload": {"$ref": PREFIX + name},
        }
        stream = name.split(".")[1].upper()
        address = f"{name}.{{slot}}.{{{kind.key}}}"
        self.channel(name, address, message, **{"x-stream": stream, "x-filter": f"{name}.>"})
        return name


def _to(channel: str) -> dict[str, Any]:
    messages = [{"$ref": f"#/channels/{channel}/messages/{channel}"}]
    return {"channel": {"$ref": f"#/channels/{channel}"}, "messages": messages}


def _headers() -> dict[str, Any]:
    described = {
        name: {"type": "string", "description": meaning} for name, meaning in HEADERS.items()
    }
    return {"type": "object", "properties": described}


def facts_of(service: str) -> list[type[Fact]]:
    """Give every kind of fact a service owns."""
    return [kind for name, kind in BY_NAME.items() if name.split(".")[1] == service]


def document(
    service: str, readers: Iterable[Reader], answers: Iterable[RequestReply] = (), about: str = ""
) -> dict[str, Any]:
    """Describe a service to whoever listens to it."""
    told = _Document()
    for kind in facts_of(service):
        told.operation("send", told.fact(kind))
    for reader in readers:
        if reader.own_positions:
            _raw_deliveries(told)
        else:
            owned = facts_of(reader.stream.lower())
            for kind in owned if reader.consumes is None else reader.consumes:
                told.operation("receive", told.fact(kind))
    for answer in answers:
        _answers(told, answer)
    _announcements(told, service)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": f"Trunkline {service}", "version": "1", "description": about.strip()},
        "servers": {"nats": {"host": "127.0.0.1:8022", "pathname": "", "protocol": "nats"}},
        "defaultContentType": "application/json",
        "channels": dict(sorted(told.channels.items())),
        "operations": dict(sorted(told.operations.items())),
        "components": {
            "messages": dict(sorted(told.messages.items())),
            "schemas": dict(sorted(told.schemas.items())),
        },
    }


def _raw_deliveries(told: _Document) -> None:
    """Whoever reads raw deliveries is their only writer too: its own door."""
    message = {"title": "A raw delivery, as the channel sent it", "payload": {}}
    told.channel("inbound", RAW, message, **{"x-stream": "INBOUND", "x-filter": "inbound.>"})
    told.operation("send", "inbound")
    told.operation("receive", "inbound")


def _answers(told: _Document, answer: RequestReply) -> None:
    name = answer.subject.split(".{")[0]
    asked = {"title": answer.meaning, "payload": dict(answer.takes)}
    told.channel(name, answer.subject, asked)
    given = {"title": "The answer, on the subject asked for", "payload": dict(answer.gives)}
    told.channel(f"{name}.answer", None, given)
    told.operation("receive", name, reply=f"{name}.answer")


def _announcements(told: _Document, service: str) -> None:
    words = ("service", "reader", "key")
    payload = {
        "type": "object",
        "required": list(words),
        "properties": {word: {"type": "string"} for word in words},
    }
    message = {"title": "A message could not be applied; `/v1/parked` says why", "payload": payload}
    address = PARKED.replace("{service}", service)
    told.channel("parked", address, message, **{"x-stream": "PARKED", "x-filter": "parked.>"})
    told.operation("send", "parked")
