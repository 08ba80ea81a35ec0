"""What will happen on this day: decided beforehand by a seed, so that it can be told again.

Nothing here is read from a clock; times are seconds since the doors opened. Long, as it is the plan
of a whole day.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

from trunkline.instance import EXAMPLE
from trunkline_workspace.reading import load

CHANNELS = ("telegram", "email", "custom", "api")
NAMES = (
    "Iryna", "Petro", "Oksana", "Taras", "Maria", "Yurii", "Daryna", "Ostap",
    "Sofia", "Roman", "Halyna", "Ivan", "Nadia", "Marko", "Zoya", "Levko",
)  # fmt: skip
QUESTIONS = {
    "general": (
        "Are you open on Saturday?", "How do I change my password?", "Do you ship to Lviv?",
        "Я не можу увійти в кабінет.", "The app closes when I open the cart.", "Can I pay in cash?",
    ),
    "delivery": (
        "Where is my order?", "The courier did not come.", "Чи можна змінити адресу доставки?",
        "Half of my parcel is missing.",
    ),
    "billing": ("Invoice 17 is wrong.", "I was charged twice.", "Потрібен акт виконаних робіт."),
    "contracts": ("Our contract ends today. We need the new one before noon!",),
}  # fmt: skip
LATER = (
    "And one more thing, please.",
    "Are you there?",
    "Дякую, чекаю.",
    "I found the number: 4711.",
)
ANSWERS = (
    "Thank you, it is done.",
    "On its way.",
    "Перевірили, усе гаразд.",
    "We have corrected it.",
)
NOTES = ("Has called before.", "Discount promised.", "Пильний клієнт.")

LUNCH, RUSH, CONTRACT, BACK, LATE, EVENING = 0.30, 0.36, 0.38, 0.58, 0.12, 0.75
"""Parts of the day: when things happen."""


@dataclass(frozen=True)
class Customer:
    """Somebody who writes, once or twice, on one channel."""

    number: int
    name: str
    channel: str
    topic: str
    says: tuple[tuple[float, str], ...]
    """When, and what."""
    stutters: bool = False
    """Whether the platform delivers the first message twice."""


@dataclass(frozen=True)
class Operator:
    """Somebody who answers: when they come, and whether they go to lunch."""

    name: str
    comes: float
    lunch: float | None = None
    back: float | None = None


@dataclass(frozen=True)
class Day:
    """The whole of it."""

    seconds: float
    seed: int
    customers: tuple[Customer, ...]
    operators: tuple[Operator, ...]

    @property
    def pace(self) -> float:
        """Seconds a thought takes that takes one on a day of 45 seconds."""
        return self.seconds / 45


def plan(seconds: float, seed: int) -> Day:
    """Plan a day: a slow morning, a rush while somebody is at lunch, and a quiet afternoon."""
    rng = Random(seed)  # noqa: S311 (a story, not a secret)
    number = max(8, round(seconds * 0.6))
    customers = [_customer(rng, n, seconds) for n in range(number)]
    contract = (CONTRACT * seconds, QUESTIONS["contracts"][0])
    customers.append(Customer(number, "Bakery Kolo", "api", "contracts", (contract,)))
    operators = (
        Operator("anna", 0.0),
        Operator("olena", 0.0, LUNCH * seconds, BACK * seconds),
        Operator("bohdan", LATE * seconds),
    )
    return Day(seconds, seed, tuple(sorted(customers, key=lambda c: c.says)), operators)


def _customer(rng: Random, number: int, seconds: float) -> Customer:
    channel = CHANNELS[number % len(CHANNELS)]
    topic = rng.choice(("billing", "delivery")) if channel == "api" else "general"
    rushes = rng.random() < 0.45
    at = rng.gauss(RUSH, 0.02) if rushes else rng.uniform(0.02, EVENING)
    questions = (
        QUESTIONS[topic] if channel == "api" else QUESTIONS["general"] + QUESTIONS["delivery"]
    )
    says = [(at * seconds, rng.choice(questions))]
    if channel != "api" and rng.random() < 0.4:
        says.append((says[0][0] + rng.uniform(0.02, 0.1) * seconds, rng.choice(LATER)))
    name = NAMES[number % len(NAMES)]
    return Customer(number, name, channel, topic, tuple(says), stutters=number == 0)


def workspace(day: Day) -> str:
    """Give the example workspace with a small desk in it, and promises as short as the day.

    The contract's is broken while olena is at lunch; the others leave time enough.
    """
    document: dict[str, Any] = load(EXAMPLE.read_text(encoding="utf-8")).document()
    document["name"] = "demo"
    document["topics"] |= {"delivery": {"group": "first-line"}, "billing": {"group": "finance"}}
    document["topics"]["contracts"] = {"group": "finance"}
    document["groups"]["first-line"]["operators"] = ["anna", "bohdan"]
    document["operators"] |= {
        "anna": _operator("anna", {"general": 3, "delivery": 3}, 3),
        "bohdan": _operator("bohdan", {"general": 2, "delivery": 4}, 3),
        "olena": _operator("olena", {"billing": 5, "contracts": 4}, 2),
    }
    usual = max(60.0, 2 * day.seconds)
    document["sla"] = [
        _policy("contract", {"topic": "contracts"}, 0.08 * day.seconds, 10 * usual, [0.5]),
        _policy("usual", {}, usual, 10 * usual, [0.1]),
    ]
    return json.dumps(document, ensure_ascii=False, indent=1)  # which is YAML too


def _operator(name: str, skills: dict[str, int], limit: int) -> dict[str, Any]:
    return {"email": f"{name}@example.test", "skills": skills, "limit": limit}


def _policy(
    name: str, match: dict[str, str], first: float, whole: float, warn: Sequence[float]
) -> dict[str, Any]:
    targets = {"FRT": _duration(first), "TTR": _duration(whole)}
    return {
        "name": name, "match": match, "calendar": "always", "targets": targets, "warn": list(warn),
    }  # fmt: skip


def _duration(seconds: float) -> str:
    return f"PT{timedelta(seconds=seconds).total_seconds():.3f}S"
