"""Provisioning from one declarative file: files and secrets, then roles, schemas, tables, streams.

Services declare nothing; everything here may be run again at any time, and by several at once.
"""

from pathlib import Path

import nats
from nats.aio.client import Client

from chassis.provision.files import write_files
from chassis.provision.migrating import migrate
from chassis.provision.plan import Plan, Subscriber, read_plan
from chassis.provision.postgres import provision_postgres, service_dsn
from chassis.provision.streams import provision_streams

__all__ = [
    "Plan",
    "Subscriber",
    "connect_as",
    "migrate",
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
        return applied + await provision_streams(nc.jetstream(timeout=10), plan)
    finally:
        await nc.close()
