"""JSON Schemas (2020-12) of the bodies web pages send; a topic's form has its fields."""

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
    "id": {**NAME_SCHEMA, "description": "The page's own id; sent twice, it is one message."},
    "sent_at": {"type": "string", "format": "date-time"},
    "attachments": {"type": "array", "items": ATTACHMENT_SCHEMA, "maxItems": MAX_FORM_ATTACHMENTS},
}
FORM_PROPERTIES: dict[str, Any] = {
    "conversation": {
        **NAME_SCHEMA,
        "description": "To add a message: the `inbound_id` of the first response.",
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
"""A form, whatever its topics; `form_schema` returns the one of a workspace."""
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
    """Return the form of one topic, or of all topics, each with its own fields."""
    choice: dict[str, Any] = {"const": topic} if topic else {"enum": sorted(rules.topics)}
    own = _fields(rules, topic) if topic else {}
    required = ["text", *own.get("required", [])]
    return {
        "$schema": DIALECT,
        "title": f"A request about {topic}" if topic else "A request",
        "type": "object",
        "required": [*required, "topic"] if topic and topic != rules.topic else required,
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
        **({} if topic else {"allOf": [_if_topic(rules, name) for name in sorted(rules.topics)]}),
    }


def _if_topic(rules: Rules, topic: str) -> dict[str, Any]:
    """Return the fields needed if a topic is chosen; without a choice it is the default topic."""
    condition: dict[str, Any] = {"properties": {"topic": {"const": topic}}}
    if topic != rules.topic:
        condition["required"] = ["topic"]
    return {"if": condition, "then": _fields(rules, topic)}


def _fields(rules: Rules, topic: str) -> dict[str, Any]:
    """Return the schema of a topic's fields."""
    fields_of_topic = rules.topics[topic]
    required = [name for name, is_required in fields_of_topic.items() if is_required]
    fields = {
        "type": "object",
        "properties": {name: rules.fields[name].schema() for name in fields_of_topic},
        "required": required,
        "additionalProperties": False,
    }
    return {"properties": {"fields": fields}, **({"required": ["fields"]} if required else {})}
