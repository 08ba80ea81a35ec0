"""Delivery of notifications to the bells of their recipients, and the fact about each."""

from collections.abc import Sequence

from chassis.messaging.transaction import Tx
from notify.bell import grouped, store
from notify.domain.notifications import BELL, Notification
from trunkline_contracts import NotificationSent


async def publish(tx: Tx, notifications: Sequence[Notification]) -> None:
    """Add notifications to bells, and publish `notification_sent` for each new entry.

    A notification that only raises the count of an unread entry publishes nothing.
    """
    new = await store.insert(tx, [each for each in notifications if each.group is None])
    new |= await grouped.insert(tx, [each for each in notifications if each.group is not None])
    for notification in notifications:
        if notification.id in new:
            fact = NotificationSent(
                time=tx.now,
                request_id=notification.request_id,
                notification_id=notification.id,
                recipient=notification.recipient,
                channel=BELL,
                kind=notification.kind,
            )
            tx.record(fact, cause=notification.fact)
