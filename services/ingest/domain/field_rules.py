"""What the workspace lets a client ask of a request. A wrong wish never loses the message."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ingest.domain.fields import FieldRule, blank
from ingest.domain.items import Asked, Person
from ingest.domain.languages import language_of
from ingest.domain.text import clean

Wrong = tuple[str, Any, str]
"""What cannot be obeyed: where it stood, the offending value, what is wrong."""

TITLE, FLAG, MOST = 255, 200, 20
"""Characters of a title and of a flag; flags one message may have."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The part of one version of the workspace that intake obeys."""

    type: str
    topic: str
    types: frozenset[str]
    priorities: frozenset[str]
    topics: Mapping[str, Mapping[str, bool]]
    """Each topic's fields that may be given when a request is created, and which must be."""
    fields: Mapping[str, FieldRule] = field(default_factory=dict)
    mappings: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)
    """By channel and account: where what its deliveries tell is found in them."""

    def topic_of(self, asked: Asked) -> str:
        """Give the topic a request will have; what nobody knows is treated as the default one."""
        return asked.topic if asked.topic and _is_one_of(asked.topic, self.topics) else self.topic

    def complaints(self, asked: Asked, *, whole: bool = True) -> list[Wrong]:
        """Give what cannot be obeyed, and, of a `whole` request, what is missing."""
        named: tuple[tuple[str, Any, Mapping[str, Any] | frozenset[str]], ...] = (
            ("type", asked.type, self.types),
            ("topic", asked.topic, self.topics),
            ("priority", asked.priority, self.priorities),
        )
        wrong = [
            (name, value, f"must be one of {', '.join(sorted(allowed))}")
            for name, value, allowed in named
            if value is not None and not _is_one_of(value, allowed)
        ]
        given, bad = self._read(asked)
        return [*wrong, *bad, *(self._missing(asked, given) if whole else ())]

    def _read(self, asked: Asked) -> tuple[dict[str, Any], list[Wrong]]:
        """Give the fields that can be kept, as they are kept, and what is wrong with the others."""
        allowed = self.topics.get(self.topic_of(asked), {})
        kept: dict[str, Any] = {}
        wrong: list[Wrong] = []
        for name, value in asked.fields.items():
            if blank(value):
                continue
            rule = self.fields.get(name) if name in allowed else None
            if rule is None:
                known = f"must be one of {', '.join(sorted(allowed))}" if allowed else "has none"
                wrong.append((f"fields.{name}", value, f"not a field of this topic: {known}"))
                continue
            read = rule.as_written(value) if asked.typed else value
            complaint = rule.complaint(read)
            if complaint is None:
                kept[name] = clean(read) if isinstance(read, str) else read
            else:
                wrong.append((f"fields.{name}", value, complaint))
        return kept, wrong

    def _missing(self, asked: Asked, kept: Mapping[str, Any]) -> Iterator[Wrong]:
        topic = self.topic_of(asked)
        for name, required in self.topics.get(topic, {}).items():
            if required and name not in kept and blank(asked.fields.get(name)):
                yield f"fields.{name}", None, f"is missing: topic {topic} requires it"

    def obeyed(self, asked: Asked | None) -> tuple[Asked, list[str]]:
        """Give what can be obeyed, and why the rest is not."""
        asked = asked or Asked()
        wrong = self.complaints(asked)
        bad = {where for where, _, _ in wrong}
        title = clean((asked.title or "")[:TITLE]).strip() or None
        kept = Asked(
            None if "topic" in bad else asked.topic,
            title,
            None if "type" in bad else asked.type,
            None if "priority" in bad else asked.priority,
            self._read(asked)[0],
        )
        return kept, flags_of(wrong)


def flags_of(wrong: list[Wrong]) -> list[str]:
    """Write what is wrong for people: short, without the values, and not for ever."""
    flags = [clean(f"{where[:70]} {why}")[:FLAG] for where, _, why in wrong[:MOST]]
    more = len(wrong) - MOST
    return [*flags, f"and {more} more"] if more > 0 else flags


def known(person: Person) -> tuple[Person, list[str]]:
    """Give a person whose language is one there is, and why it is not the one that was told."""
    if not person.language:
        return person, []
    language = language_of(person.language)
    if language == person.language:
        return person, []
    flags = [] if language else ["language is none that is known: a code such as uk or pt-BR"]
    return replace(person, language=language), flags


def _is_one_of(value: Any, allowed: Mapping[str, Any] | frozenset[str]) -> bool:
    return isinstance(value, str) and value in allowed
