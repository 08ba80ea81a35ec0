"""Provisioning from one declarative file: files and secrets, then roles, schemas, tables, streams.

Services declare nothing; everything here may be run again at any time, and by several at once.
"""

from pathlib import Path

import nats
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


async def connect_as(user: str, nats_url: str, creds: Path) -> Client:
    """Connect to NATS once, as one of the declared users; fails at once when it cannot."""
    return await nats.connect(
        nats_url,
        name=user,
        nkeys_seed_str=(creds / f"{user}.nk").read_text(encoding="ascii").strip(),
        inbox_prefix=f"_INBOX_{user}",
        allow_reconnect=False,
        connect_timeout=5,
    )


async def provision(admin_dsn: str, nats_url: str, creds: Path, plan: Plan) -> list[str]:
    """Create or correct everything the plan declares. Gives what had to be changed."""
    applied = await provision_postgres(admin_dsn, creds, plan)
    nc = await connect_as("admin", nats_url, creds)
    try:
        js = nc.jetstream(timeout=10)
        configured = await _in_force(js)
        ages = {RAW_DELIVERIES: configured.retention.inbound} if configured else {}
        whole = plan_for(plan, configured)
        unknown = configured is None
        return applied + await provision_streams(js, whole, ages=ages, keep_strangers=unknown)
    finally:
        await nc.close()


def plan_for(plan: Plan, workspace: Workspace | None) -> Plan:
    """Give the plan with a workspace's subscribers and integrators. Write the files of this one."""
    if workspace is None:
        return plan
    named = {
        name: Subscriber.model_validate(s.model_dump()) for name, s in workspace.subscribers.items()
    }
    return plan.with_subscribers(named).with_integrators(workspace.integrators)


async def _in_force(js: JetStreamContext) -> Workspace | None:
    try:
        return (await newest(js))[1]
    except NotFoundError:
        return None
