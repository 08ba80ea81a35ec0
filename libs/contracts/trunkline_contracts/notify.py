"""Facts of notify: notifications, and messages to customers."""

from typing import Literal
from uuid import UUID

from trunkline_contracts.parts import RequestFact


class NotificationSent(RequestFact):
    """A notification was sent."""

    type: Literal["trunkline.notify.v1.notification_sent"] = "trunkline.notify.v1.notification_sent"
    notification_id: UUID
    recipient: str
    channel: str
    kind: str


class NotificationFailed(RequestFact):
    """A notification could not be sent."""

    type: Literal["trunkline.notify.v1.notification_failed"] = (
        "trunkline.notify.v1.notification_failed"
    )
    notification_id: UUID
    recipient: str
    channel: str
    kind: str
    reason: str


class NotificationSuppressed(RequestFact):
    """A notification was suppressed; `why` names the reason."""

    type: Literal["trunkline.notify.v1.notification_suppressed"] = (
        "trunkline.notify.v1.notification_suppressed"
    )
    recipient: str
    channel: str
    kind: str
    why: str
    notification_id: UUID | None = None


class MessageSent(RequestFact):
    """The platform accepted a message to the customer."""

    type: Literal["trunkline.notify.v1.message_sent"] = "trunkline.notify.v1.message_sent"
    message_id: UUID
    platform_id: str | None = None


class MessageFailed(RequestFact):
    """A message to the customer could not be sent."""

    type: Literal["trunkline.notify.v1.message_failed"] = "trunkline.notify.v1.message_failed"
    message_id: UUID
    reason: str
