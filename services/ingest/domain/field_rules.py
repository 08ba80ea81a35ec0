"""The request attributes a client may set. A forbidden one never loses the message."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ingest.domain.fields import FieldRule, is_blank
from ingest.domain.items import Person, RequestAttributes
from ingest.domain.languages import normalize_language
from ingest.domain.text import clean

Violation = tuple[str, Any, str]
"""Where a value was given, the value, and what is wrong with it."""

MAX_TITLE_CHARS, MAX_FLAG_CHARS, MAX_FLAGS = 255, 200, 20
"""Characters of a title and of a flag, and flags of one message."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The part of one workspace version that decides about request attributes."""

    type: str
    topic: str
    types: frozenset[str]
    priorities: frozenset[str]
    topics: Mapping[str, Mapping[str, bool]]
    """Each topic's fields that may be set at creation, and whether each is required."""
    fields: Mapping[str, FieldRule] = field(default_factory=dict)
    mappings: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    """Field mappings by channel and account: the paths of values in a delivery."""

    def topic_of(self, attributes: RequestAttributes) -> str:
        """Return the topic of a request; an unknown one is replaced by the default."""
        return (
            attributes.topic
            if attributes.topic and _is_one_of(attributes.topic, self.topics)
            else self.topic
        )

    def violations(self, attributes: RequestAttributes, *, whole: bool = True) -> list[Violation]:
        """Return the attributes that are not allowed, and, of a `whole` request, the missing
        ones."""
        choices: tuple[tuple[str, Any, Mapping[str, Any] | frozenset[str]], ...] = (
            ("type", attributes.type, self.types),
            ("topic", attributes.topic, self.topics),
            ("priority", attributes.priority, self.priorities),
        )
        forbidden = [
            (name, value, f"must be one of {', '.join(sorted(allowed))}")
            for name, value, allowed in choices
            if value is not None and not _is_one_of(value, allowed)
        ]
        given, bad = self._read(attributes)
        return [*forbidden, *bad, *(self._missing(attributes, given) if whole else ())]

    def _read(self, attributes: RequestAttributes) -> tuple[dict[str, Any], list[Violation]]:
        """Return the allowed fields with their stored values, and the violations of the others."""
        allowed = self.topics.get(self.topic_of(attributes), {})
        kept: dict[str, Any] = {}
        violations: list[Violation] = []
        for name, value in attributes.fields.items():
            if is_blank(value):
                continue
            rule = self.fields.get(name) if name in allowed else None
            if rule is None:
                choices = f"must be one of {', '.join(sorted(allowed))}" if allowed else "has none"
                violations.append(
                    (f"fields.{name}", value, f"not a field of this topic: {choices}")
                )
                continue
            read = rule.parse_typed(value) if attributes.typed else value
            complaint = rule.complaint(read)
            if complaint is None:
                kept[name] = clean(read) if isinstance(read, str) else read
            else:
                violations.append((f"fields.{name}", value, complaint))
        return kept, violations

    def _missing(
        self, attributes: RequestAttributes, kept: Mapping[str, Any]
    ) -> Iterator[Violation]:
        topic = self.topic_of(attributes)
        for name, required in self.topics.get(topic, {}).items():
            if required and name not in kept and is_blank(attributes.fields.get(name)):
                yield f"fields.{name}", None, f"is missing: topic {topic} requires it"

    def keep_allowed(
        self, attributes: RequestAttributes | None
    ) -> tuple[RequestAttributes, list[str]]:
        """Return the allowed attributes, and flags for the others."""
        attributes = attributes or RequestAttributes()
        violations = self.violations(attributes)
        bad = {path for path, _, _ in violations}
        title = clean((attributes.title or "")[:MAX_TITLE_CHARS]).strip() or None
        kept = RequestAttributes(
            None if "topic" in bad else attributes.topic,
            title,
            None if "type" in bad else attributes.type,
            None if "priority" in bad else attributes.priority,
            self._read(attributes)[0],
        )
        return kept, violation_flags(violations)


def violation_flags(violations: list[Violation]) -> list[str]:
    """Return violations as short flags for people, without the values and limited in number."""
    flags = [
        clean(f"{path[:70]} {why}")[:MAX_FLAG_CHARS] for path, _, why in violations[:MAX_FLAGS]
    ]
    more = len(violations) - MAX_FLAGS
    return [*flags, f"and {more} more"] if more > 0 else flags


def with_known_language(person: Person) -> tuple[Person, list[str]]:
    """Return a person with a canonical language, and flags if the given language is unknown."""
    if not person.language:
        return person, []
    language = normalize_language(person.language)
    if language == person.language:
        return person, []
    flags = [] if language else ["language is unknown: use a code such as uk or pt-BR"]
    return replace(person, language=language), flags


def _is_one_of(value: Any, allowed: Mapping[str, Any] | frozenset[str]) -> bool:
    return isinstance(value, str) and value in allowed
