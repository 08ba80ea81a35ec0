"""Provision files and secrets, roles, schemas, tables and streams from one declarative file.

Services declare nothing themselves. All steps may be repeated, also by several processes at once.
"""

from pathlib import Path

import nats
import psycopg
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from chassis.configuration.publishing import RAW_DELIVERIES, newest
from trunkline.provision.consumers import make_durables
from trunkline.provision.files import write_files
from trunkline.provision.migrating import migrate
from trunkline.provision.plan import Plan, Subscriber, read_plan
from trunkline.provision.postgres import provision_postgres, service_dsn
from trunkline.provision.streams import provision_streams
from trunkline_workspace.document import Workspace
from trunkline_workspace.reading import parse

__all__ = [
    "Plan",
    "Subscriber",
    "connect_as",
    "make_durables",
    "migrate",
    "plan_for",
    "provision",
    "provision_postgres",
    "provision_streams",
    "read_plan",
    "service_dsn",
    "write_files",
]


RECORDED = "SELECT document FROM tickets.workspace WHERE version > %s ORDER BY version DESC LIMIT 1"
"""Selects a newer version from the schema of tickets, which records every version."""


async def connect_as(user: str, nats_url: str, creds: Path) -> Client:
    """Connect to NATS as a declared user, without reconnecting; fails at once if it cannot."""
    return await nats.connect(
        nats_url,
        name=user,
        nkeys_seed_str=(creds / f"{user}.nk").read_text(encoding="ascii").strip(),
        inbox_prefix=f"_INBOX_{user}",
        allow_reconnect=False,
        connect_timeout=5,
    )


async def provision(admin_dsn: str, nats_url: str, creds: Path, plan: Plan) -> list[str]:
    """Create or correct everything the plan declares; return the names of what changed."""
    applied = await provision_postgres(admin_dsn, creds, plan)
    nc = await connect_as("admin", nats_url, creds)
    try:
        js = nc.jetstream(timeout=10)
        workspace = await _workspace_in_force(js, admin_dsn)
        ages = {RAW_DELIVERIES: workspace.retention.inbound} if workspace else {}
        full_plan = plan_for(plan, workspace)
        is_unknown = workspace is None
        return applied + await provision_streams(js, full_plan, ages=ages, keep_unknown=is_unknown)
    finally:
        await nc.close()


def plan_for(plan: Plan, workspace: Workspace | None) -> Plan:
    """Return the plan with the subscribers and integrators of a workspace."""
    if workspace is None:
        return plan
    subscribers = {
        name: Subscriber.model_validate(s.model_dump()) for name, s in workspace.subscribers.items()
    }
    return plan.with_subscribers(subscribers).with_integrators(workspace.integrators)


async def _workspace_in_force(js: JetStreamContext, admin_dsn: str) -> Workspace | None:
    """Return the workspace in force: the stream's, else the one tickets has recorded.

    A stream that was lost is filled again from that record only when tickets runs, and by then the
    durables of subscribers must exist.
    """
    try:
        version, workspace = await newest(js)
    except NotFoundError:
        version, workspace = 0, None
    async with await psycopg.AsyncConnection.connect(admin_dsn, connect_timeout=5) as conn:
        try:
            row = await (await conn.execute(RECORDED, (version,))).fetchone()
        except psycopg.errors.UndefinedTable:  # a plan without tickets
            row = None
    return parse(row[0]) if row else workspace
