"""What pages may send, as JSON Schema (2020-12); a form's comes of what topics ask at creation."""

from typing import Any

from ingest.channels.web.parser import HONEYPOT_FIELD, MAX_FORM_ATTACHMENTS
from ingest.domain.field_rules import MAX_TITLE_CHARS, Rules

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAME_SCHEMA: dict[str, Any] = {"type": "string", "maxLength": MAX_TITLE_CHARS}
CONTACT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": NAME_SCHEMA,
        "email": {**NAME_SCHEMA, "format": "email"},
        "phone": NAME_SCHEMA,
        "language": {"type": "string", "maxLength": 35, "description": "Such as uk or pt-BR."},
    },
}
TEXT_SCHEMA: dict[str, Any] = {"type": "string", "pattern": r"\S"}
REQUEST_PROPERTIES: dict[str, Any] = {
    "title": NAME_SCHEMA,
    "topic": {"type": "string"},
    "fields": {"type": "object"},
    "priority": {"type": "string"},
    "type": {"type": "string"},
    "contact": CONTACT_SCHEMA,
}
ATTACHMENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["url"],
    "properties": {
        "url": {"type": "string", "format": "uri"},
        "name": NAME_SCHEMA,
        "content_type": {"type": "string", "maxLength": 100},
        "size": {"type": "integer", "minimum": 0},
    },
}
MESSAGE_PROPERTIES: dict[str, Any] = {
    "id": {**NAME_SCHEMA, "description": "The page's own: sent twice, it is one message."},
    "sent_at": {"type": "string", "format": "date-time"},
    "attachments": {"type": "array", "items": ATTACHMENT_SCHEMA, "maxItems": MAX_FORM_ATTACHMENTS},
}
FORM_PROPERTIES: dict[str, Any] = {
    "conversation": {
        **NAME_SCHEMA,
        "description": "To write again: the first answer's `inbound_id`.",
    },
    HONEYPOT_FIELD: {"type": "string", "maxLength": 0, "description": "Hidden from people."},
}

FORM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["text"],
    "properties": {
        "text": TEXT_SCHEMA,
        **REQUEST_PROPERTIES,
        **MESSAGE_PROPERTIES,
        **FORM_PROPERTIES,
    },
}
"""A form, whatever its topics; the form of one account says more."""
WIDGET_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["text"],
    "properties": {"text": TEXT_SCHEMA, **REQUEST_PROPERTIES, **MESSAGE_PROPERTIES},
}
SESSION_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["token", "visitor", "chat", "expires_at"],
    "properties": {
        "token": {"type": "string"},
        "visitor": {"type": "string", "format": "uuid"},
        "chat": {"type": "string", "format": "uuid"},
        "expires_at": {"type": "string", "format": "date-time"},
    },
}


def form_schema(rules: Rules, topic: str | None = None) -> dict[str, Any]:
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
            "text": TEXT_SCHEMA,
            **REQUEST_PROPERTIES,
            "topic": {"type": "string", **choice, "default": topic or rules.topic},
            **own.get("properties", {}),
            "priority": {"type": "string", "enum": sorted(rules.priorities)},
            "type": {"type": "string", "enum": sorted(rules.types), "default": rules.type},
            **MESSAGE_PROPERTIES,
            **FORM_PROPERTIES,
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
