"""Mails nobody should have to read, by class, each with what must become of it.

What is made here is made by rule, so that a class can be widened by a line. `PARKED` mails are more
than is taken apart; `REJECTED` ones can never become a message; of the rest it is said what must be
read out of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["parked", "rejected", "read"]
PARKED: Verdict = "parked"
REJECTED: Verdict = "rejected"


@dataclass(frozen=True)
class Case:
    """A mail, and what must become of it."""

    name: str
    body: bytes
    verdict: Verdict = "read"
    told: dict[str, Any] = field(default_factory=dict)
    """Attributes of the item: values, or functions that say whether a value will do."""

    def complaints(self, item: Any) -> list[str]:
        """Say what is read otherwise than it must be."""
        wrong = []
        for path, wanted in self.told.items():
            value = item
            for name in path.split("."):
                value = getattr(value, name)
            right = wanted(value) if callable(wanted) else value == wanted
            if not right:
                wrong.append(f"{path} is {value!r}, not {wanted!r}")
        return wrong


HEAD = b"From: Iryna <iryna@example.test>\r\nMessage-ID: <1@x>\r\nSubject: Order\r\n"


def cases() -> dict[str, list[Case]]:
    """Give every class."""
    from mail_corpus import addresses, charsets, contents, headers, machines, structure

    makers: dict[str, Callable[[], Iterator[Case]]] = {
        "structure": structure.cases,
        "headers": headers.cases,
        "charsets": charsets.cases,
        "addresses": addresses.cases,
        "machines": machines.cases,
        "contents": contents.cases,
    }
    return {name: list(make()) for name, make in makers.items()}
