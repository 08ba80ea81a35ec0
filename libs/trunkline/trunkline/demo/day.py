"""The plan of the simulated day, derived from a seed, so that it can be repeated.

No clock is read here; times are seconds since the start of the day.
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
        "Where is my order?", "The parcel did not come.", "Чи можна змінити адресу доставки?",
        "Half of my parcel is missing.",
    ),
    "billing": ("Invoice 17 is wrong.", "I was charged twice.", "Потрібен акт виконаних робіт."),
    "contracts": ("Our contract ends today. We need the new one before noon!",),
}  # fmt: skip
FURTHER_MESSAGES = (
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
"""Times of events, as fractions of the day."""


@dataclass(frozen=True)
class Customer:
    """A customer, who writes once or twice on one channel."""

    number: int
    name: str
    channel: str
    topic: str
    messages: tuple[tuple[float, str], ...]
    """Time and text of each message."""
    is_redelivered: bool = False
    """The platform delivers the first message twice."""


@dataclass(frozen=True)
class Operator:
    """An operator: when they arrive, and when they are at lunch."""

    name: str
    arrives_at: float
    leaves_at: float | None = None
    returns_at: float | None = None


@dataclass(frozen=True)
class Day:
    """The plan of the whole day."""

    seconds: float
    seed: int
    customers: tuple[Customer, ...]
    operators: tuple[Operator, ...]

    @property
    def pace(self) -> float:
        """Factor of all thinking times: 1 on a day of 45 seconds."""
        return self.seconds / 45


def plan(seconds: float, seed: int) -> Day:
    """Plan a day: a slow morning, a rush while an operator is at lunch, a quiet afternoon."""
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
    return Day(seconds, seed, tuple(sorted(customers, key=lambda c: c.messages)), operators)


def _customer(rng: Random, number: int, seconds: float) -> Customer:
    channel = CHANNELS[number % len(CHANNELS)]
    topic = rng.choice(("billing", "delivery")) if channel == "api" else "general"
    in_rush = rng.random() < 0.45
    at = rng.gauss(RUSH, 0.02) if in_rush else rng.uniform(0.02, EVENING)
    questions = (
        QUESTIONS[topic] if channel == "api" else QUESTIONS["general"] + QUESTIONS["delivery"]
    )
    messages = [(at * seconds, rng.choice(questions))]
    if channel != "api" and rng.random() < 0.4:
        messages.append(
            (messages[0][0] + rng.uniform(0.02, 0.1) * seconds, rng.choice(FURTHER_MESSAGES))
        )
    name = NAMES[number % len(NAMES)]
    return Customer(number, name, channel, topic, tuple(messages), is_redelivered=number == 0)


def workspace(day: Day) -> str:
    """Return the example workspace with the demo's topics and operators, and short targets.

    The target of the contract is breached while olena is at lunch; the others leave enough time.
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
    return json.dumps(document, ensure_ascii=False, indent=1)  # JSON is valid YAML


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
