"""The AsyncAPI 3 document of a service: the facts it publishes and reads, with their schemas.

It is derived from the service's readers and the contracts, so it agrees with what the service does.
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
    "Nats-Msg-Id": "The fact's id; a fact published twice has the same one.",
    "Trunkline-Position": "The fact's position in its owner's outbox.",
    "Trunkline-Previous": "The position of the previous fact in the same slot.",
}
SLOT = {
    "description": f"Two digits: crc32 of the key, modulo {SLOTS}.",
    "enum": [f"{slot:02d}" for slot in range(SLOTS)],
}
RAW = "inbound.{channel}.{account}.{slot}.{inbound_id}"
PARKED = "parked.{service}.{reader}"


@dataclass(frozen=True)
class RequestReply:
    """A subject on which a service answers requests, with the schemas of both messages."""

    subject: str
    meaning: str
    request_schema: Mapping[str, Any]
    reply_schema: Mapping[str, Any]


class _Document:
    def __init__(self) -> None:
        self.channels: dict[str, Any] = {}
        self.operations: dict[str, Any] = {}
        self.messages: dict[str, Any] = {}
        self.schemas: dict[str, Any] = {}

    def channel(
        self, name: str, address: str | None, message: Mapping[str, Any], **more: Any
    ) -> None:
        """Add a subject and its message."""
        self.messages[name] = {"name": name, **hoist_defs(dict(message), self.schemas)}
        channel: dict[str, Any] = {"address": address, **more}
        channel["messages"] = {name: {"$ref": f"#/components/messages/{name}"}}
        tokens = [word[1:-1] for word in (address or "").split(".") if word[:1] == "{"]
        if tokens:
            channel["parameters"] = {word: SLOT if word == "slot" else {} for word in tokens}
        self.channels[name] = channel

    def operation(self, action: str, channel: str, reply: str | None = None) -> None:
        """Add an operation of the service on a channel: `send` or `receive`."""
        operation = {"action": action, **_to(channel)}
        if reply is not None:
            operation["reply"] = _to(reply)
        self.operations[f"{action}.{channel}"] = operation

    def fact(self, kind: type[Fact]) -> str:
        """Add a fact with its subject and stream; return its name."""
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
    """Return the facts that a service owns."""
    return [kind for name, kind in BY_NAME.items() if name.split(".")[1] == service]


def describe_service(
    service: str, readers: Iterable[Reader], answers: Iterable[RequestReply] = (), about: str = ""
) -> dict[str, Any]:
    """Return the AsyncAPI document of a service."""
    document = _Document()
    for kind in facts_of(service):
        document.operation("send", document.fact(kind))
    for reader in readers:
        if reader.own_positions:
            _raw_deliveries(document)
        else:
            owned = facts_of(reader.stream.lower())
            for kind in owned if reader.consumes is None else reader.consumes:
                document.operation("receive", document.fact(kind))
    for answer in answers:
        _answers(document, answer)
    _announcements(document, service)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": f"Trunkline {service}", "version": "1", "description": about.strip()},
        "servers": {"nats": {"host": "127.0.0.1:8022", "pathname": "", "protocol": "nats"}},
        "defaultContentType": "application/json",
        "channels": dict(sorted(document.channels.items())),
        "operations": dict(sorted(document.operations.items())),
        "components": {
            "messages": dict(sorted(document.messages.items())),
            "schemas": dict(sorted(document.schemas.items())),
        },
    }


def _raw_deliveries(document: _Document) -> None:
    """Add raw deliveries: their only reader is also their only publisher."""
    message = {"title": "A raw delivery, as the channel sent it", "payload": {}}
    document.channel("inbound", RAW, message, **{"x-stream": "INBOUND", "x-filter": "inbound.>"})
    document.operation("send", "inbound")
    document.operation("receive", "inbound")


def _answers(document: _Document, answer: RequestReply) -> None:
    name = answer.subject.split(".{")[0]
    request = {"title": answer.meaning, "payload": dict(answer.request_schema)}
    document.channel(name, answer.subject, request)
    reply = {
        "title": "The answer, on the reply subject of the request",
        "payload": dict(answer.reply_schema),
    }
    document.channel(f"{name}.answer", None, reply)
    document.operation("receive", name, reply=f"{name}.answer")


def _announcements(document: _Document, service: str) -> None:
    fields = ("service", "reader", "key")
    payload = {
        "type": "object",
        "required": list(fields),
        "properties": {name: {"type": "string"} for name in fields},
    }
    message = {"title": "A message could not be applied; `/v1/parked` says why", "payload": payload}
    address = PARKED.replace("{service}", service)
    document.channel("parked", address, message, **{"x-stream": "PARKED", "x-filter": "parked.>"})
    document.operation("send", "parked")
