"""Facts to say, for tests that do not care what they are about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from trunkline_contracts import MessageReceived, RequestOpened
from trunkline_contracts.parts import Contact, Message

if TYPE_CHECKING:
    from chassis.service import Service
    from trunkline_contracts.fact import Fact


def opened(request_id: UUID) -> RequestOpened:
    now = datetime.now(UTC)
    message = Message(id=uuid4(), text="hello", sent_at=now)
    return RequestOpened(
        request_id=request_id, time=now, request_type="chat", channel="telegram", account="main",
        conversation="1", contact=Contact(id=uuid4()), message=message, topic_by="none",
    )  # fmt: skip


def received(request_id: UUID, text: str = "again") -> MessageReceived:
    now = datetime.now(UTC)
    message = Message(id=uuid4(), text=text, sent_at=now)
    return MessageReceived(request_id=request_id, time=now, message=message, threaded_by="chat")


async def say(service: Service, *facts: Fact) -> None:
    async with service.transaction() as tx:
        tx.record(*facts)
