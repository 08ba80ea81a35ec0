"""Requests, drafts and events for the pure tests of tickets."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import msgspec

from tickets.domain import events as e
from tickets.domain.commands import lifecycle
from tickets.domain.request import Request, replay
from tickets.domain.rules import Graph, Rules, Topic
from trunkline_workspace.fields import ValueRule

REQUEST = UUID(int=7)
START = datetime(2026, 11, 24, 12, tzinfo=UTC)
ANNA = e.Contact(UUID(int=1), "Марія", "42", "uk")
RULES = Rules(
    version=1,
    types={
        "chat": Graph("new", {"new": ("open",), "open": ("closed",)}, ("closed",)),
        "ticket": Graph(
            "new",
            {
                "new": ("open",),
                "open": ("in_progress", "resolved"),
                "in_progress": ("resolved",),
                "resolved": ("closed",),
            },
            ("closed",),
        ),
    },
    topics={
        "general": Topic("first-line"),
        "delivery": Topic("first-line", {"order_no": True}, {"cause": True}),
    },
    fields={
        "order_no": ValueRule("text", pattern="^[0-9]{6}$").complaint,
        "amount": ValueRule("number", min=0).complaint,
        "due": ValueRule("date").complaint,
        "cause": ValueRule("list", options=("printer", "other")).complaint,
        "remark": ValueRule("text").complaint,
        "words": ValueRule("text", pattern="^([a-z]+ ?)+$").complaint,
    },
    priorities=("low", "medium", "high"),
    type="chat",
    topic="general",
    priority="medium",
)


def message(n: int = 1, text: str = "My printer is on fire\nagain") -> e.Message:
    return e.Message(uuid5(REQUEST, str(n)), text, START)


def draft(**changes: Any) -> e.Opened:
    plain = e.Opened(
        type="chat", channel="telegram", account="main", contact=ANNA, title="", topic="general",
        priority="medium", status="", fields={}, message=message(), conversation="42",
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def assigned_to(operator: str, epoch: int) -> e.AssigneeChanged:
    return e.AssigneeChanged(from_=None, to=operator, group="first-line", mode="auto", epoch=epoch)


def reply_sent() -> e.ReplySent:
    return e.ReplySent(
        message=message(2), by="anna", channel="telegram", account="main", contact=ANNA,
        conversation="42",
    )  # fmt: skip


def context(minutes: int = 0) -> dict[str, Any]:
    return {"time": START + timedelta(minutes=minutes), "workspace": 1}


def opened(type_: str = "ticket") -> Request:
    events = lifecycle.on_request_opened(None, RULES, draft(type=type_))
    request = replay(e.number(REQUEST, 0, events, context()))
    assert request is not None
    return request


def after(request: Request, *events: e.Event) -> Request:
    told = replay(e.number(REQUEST, request.version, events, context(1)), request)
    assert told is not None
    return told
