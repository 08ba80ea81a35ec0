"""The audit: find states that routing must never reach, and repair what can be repaired."""

from datetime import timedelta

from prometheus_client import Counter

from routing import store
from routing.allocation import Allocation
from routing.domain.queue_changes import QueueChanges

AUDIT_INTERVAL = timedelta(seconds=30)
"""The time between two audits of a replica."""

anomalies = Counter("trunkline_routing_anomalies", "Anomalies the audit found, by kind", ["kind"])


async def audit(allocation: Allocation) -> int:
    """Record every anomaly, and return their number, which should be 0.

    The kinds: a request waits although an eligible operator has capacity (it is assigned now), an
    operator's load is not the sum of their requests, a request is in two tables.
    """
    tx, at = allocation.tx, allocation.at
    allocation.all_groups = True
    changes = QueueChanges({})
    await allocation.allocate_and_save(changes)
    for assigned in changes.assigned:
        request = assigned.decision.request
        anomalies.labels("waited_in_vain").inc()
        detail = {"created_at": request.created_at.isoformat()}
        await store.record_anomaly(tx, at, "waited_in_vain", request.id, assigned.operator, detail)
    mismatches = await store.load_mismatches(tx)
    for operator, load, held in mismatches:
        anomalies.labels("load_strayed").inc()
        await store.record_anomaly(
            tx, at, "load_strayed", None, operator, {"load": load, "held": held}
        )
    doubles = await store.double_placed(tx)
    for request_id in doubles:
        anomalies.labels("in_two_places").inc()
        await store.record_anomaly(tx, at, "in_two_places", request_id, None, {})
    return len(changes.assigned) + len(mismatches) + len(doubles)
