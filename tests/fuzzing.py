"""What an OpenAPI document allows and forbids, sent to the service it describes by schemathesis."""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taking_in import served

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI
    from requests import PreparedRequest

SEED = 4
FEW, MANY = (800, 500), (15_000, 15_000)
"""Requests at least sent to ingest and to the others: in `make test`, and in `make soak`."""
ACCOUNTS = {"path.account": "main", "path.bot_id": "acme"}
REFUSALS = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "429"]
UNREAD = {"negative_data_rejection": {"enabled": False}}
"""What somebody who is known delivers is stored as it came, and looked at afterwards."""
OPERATIONS = [
    {
        "include-path": "/channels/custom/{account}",
        "parameters": {"path.account": "acme"},
        "checks": UNREAD,
    },
    {"include-path-regex": "^/(channels|messengers_host)/", "checks": UNREAD},
]


@dataclass
class Found:
    """How a service answered."""

    answers: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """How often a method at an address was answered with a status."""
    wrong: dict[str, str] = field(default_factory=dict)
    """What is not as the document says, each with a request that shows it."""

    @property
    def cases(self) -> int:
        """How many requests were sent."""
        return sum(self.answers.values())

    def statuses(self, method: str = "", below: str = "/") -> set[int]:
        """Give the statuses with which a method was answered."""
        return {
            status
            for (of, path, status) in self.answers
            if of in (method or of) and path.startswith(below)
        }


async def try_out(
    app: FastAPI, show: Callable[[PreparedRequest], Any] | None = None, **more: Any
) -> Found:
    """Send a running service what its document allows and forbids; `show` adds what opens doors."""
    async with served(app) as http:
        url = str(http.base_url)
        return await asyncio.to_thread(_try_out, app.openapi(), url, show, **more)


def _try_out(
    document: dict[str, Any],
    url: str,
    show: Callable[[PreparedRequest], Any] | None,
    *,
    phases: tuple[str, ...],
    examples: int = 1,
    modes: str = "all",
    unasked: tuple[str, ...] = (),
) -> Found:
    """Do it: send what is right, wrong, or `all`; `unasked` are checks that do not hold here."""
    import schemathesis
    from hypothesis.errors import HypothesisWarning
    from schemathesis.config import SchemathesisConfig
    from schemathesis.engine import events, from_schema

    every = ("examples", "coverage", "fuzzing", "stateful")
    schemathesis.serializer.alias("message/rfc822", "application/octet-stream")
    config = SchemathesisConfig.from_dict({
        "base-url": url,
        "seed": SEED,
        "continue-on-failure": True,
        "parameters": ACCOUNTS,
        "operations": OPERATIONS,
        "generation": {
            "mode": modes,
            "max-examples": examples,
            "deterministic": True,
            "no-shrink": True,
            "database": "none",
        },
        "checks": {
            "negative_data_rejection": {"expected-statuses": REFUSALS},
            **{name: {"enabled": False} for name in unasked},
        },
        "phases": {name: {"enabled": name in phases} for name in every},
    })  # fmt: skip
    schema = schemathesis.openapi.from_dict(document, config=config)
    if show is not None:
        schema.auth.set_from_requests(show)
    found = Found()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HypothesisWarning)  # of bodies that are long to write out
        for event in from_schema(schema).execute():
            if isinstance(event, events.ScenarioFinished):
                _note(found, event.recorder)
            elif isinstance(event, events.NonFatalError | events.FatalError):
                found.wrong[f"not tried out: {event}"] = repr(getattr(event, "value", None))
    return found


def _note(found: Found, recorder: Any) -> None:
    for id, told in recorder.interactions.items():
        case, answer = recorder.cases[id].value, told.response
        found.answers[case.method, case.path, answer.status_code if answer else 0] += 1
    for checks in recorder.checks.values():
        for check in checks:
            if check.failure_info is not None:
                what = f"{recorder.label}: {check.name}: {check.failure_info.failure}"
                found.wrong.setdefault(what, check.failure_info.code_sample)
