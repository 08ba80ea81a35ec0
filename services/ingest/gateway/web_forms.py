"""What pages may send, as JSON Schema (2020-12); a form's comes of what topics ask at creation."""

from typing import Any

from ingest.channels.web.parser import FILES, TRAP
from ingest.domain.field_rules import TITLE, Rules

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAME: dict[str, Any] = {"type": "string", "maxLength": TITLE}
CONTACT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": NAME,
        "email": {**NAME, "format": "email"},
        "phone": NAME,
        "language": {"type": "string", "maxLength": 35, "description": "Such as uk or pt-BR."},
    },
}
TEXT: dict[str, Any] = {"type": "string", "pattern": r"\S"}
ASKED: dict[str, Any] = {
    "title": NAME,
    "topic": {"type": "string"},
    "fields": {"type": "object"},
    "priority": {"type": "string"},
    "type": {"type": "string"},
    "contact": CONTACT,
}
FILE: dict[str, Any] = {
    "type": "object",
    "required": ["url"],
    "properties": {
        "url": {"type": "string", "format": "uri"},
        "name": NAME,
        "content_type": {"type": "string", "maxLength": 100},
        "size": {"type": "integer", "minimum": 0},
    },
}
FURTHER: dict[str, Any] = {
    "id": {**NAME, "description": "The page's own: sent twice, it is one message."},
    "sent_at": {"type": "string", "format": "date-time"},
    "attachments": {"type": "array", "items": FILE, "maxItems": FILES},
}
OF_FORMS: dict[str, Any] = {
    "conversation": {**NAME, "description": "To write again: the first answer's `inbound_id`."},
    TRAP: {"type": "string", "maxLength": 0, "description": "Hidden from people."},
}

FORM: dict[str, Any] = {
    "type": "object",
    "required": ["text"],
    "properties": {"text": TEXT, **ASKED, **FURTHER, **OF_FORMS},
}
"""A form, whatever its topics; the form of one account says more."""
WIDGET: dict[str, Any] = {
    "type": "object",
    "required": ["text"],
    "properties": {"text": TEXT, **ASKED, **FURTHER},
}
SESSION: dict[str, Any] = {
    "type": "object",
    "required": ["token", "visitor", "chat", "expires_at"],
    "properties": {
        "token": {"type": "string"},
        "visitor": {"type": "string", "format": "uuid"},
        "chat": {"type": "string", "format": "uuid"},
        "expires_at": {"type": "string", "format": "date-time"},
    },
}


def form_of(rules: Rules, topic: str | None = None) -> dict[str, Any]:
    """Describe the form of one topic; without one, that of all, each with its own fields."""
    choice: dict[str, Any] = {"const": topic} if topic else {"enum": sorted(rules.topics)}
    own = _fields(rules, topic) if topic else {}
    needed = ["text", *own.get("required", [])]
    return {
        "$schema": DIALECT,
        "title": f"A request about {topic}" if topic else "A request",
        "type": "object",
        "required": [*needed, "topic"] if topic and topic != rules.topic else needed,
        "properties": {
            "text": TEXT,
            **ASKED,
            "topic": {"type": "string", **choice, "default": topic or rules.topic},
            **own.get("properties", {}),
            "priority": {"type": "string", "enum": sorted(rules.priorities)},
            "type": {"type": "string", "enum": sorted(rules.types), "default": rules.type},
            **FURTHER,
            **OF_FORMS,
        },
        **({} if topic else {"allOf": [_when(rules, each) for each in sorted(rules.topics)]}),
    }


def _when(rules: Rules, topic: str) -> dict[str, Any]:
    """Say what is asked if this topic is chosen; nothing chosen is the default one."""
    chosen: dict[str, Any] = {"properties": {"topic": {"const": topic}}}
    if topic != rules.topic:
        chosen["required"] = ["topic"]
    return {"if": chosen, "then": _fields(rules, topic)}


def _fields(rules: Rules, topic: str) -> dict[str, Any]:
    asked = rules.topics[topic]
    required = [name for name, must in asked.items() if must]
    fields = {
        "type": "object",
        "properties": {name: rules.fields[name].schema() for name in asked},
        "required": required,
        "additionalProperties": False,
    }
    return {"properties": {"fields": fields}, **({"required": ["fields"]} if required else {})}
