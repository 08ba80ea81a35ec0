"""A world of one test's own: real NATS, real PostgreSQL, all provisioned."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
from psycopg import sql

from chassis.auth.dependencies import new_key, sign
from chassis.configuration.publishing import apply
from trunkline.provision import (
    Plan,
    connect_as,
    plan_for,
    provision_streams,
    read_plan,
    service_dsn,
)
from trunkline_workspace.reading import load

if TYPE_CHECKING:
    from nats.aio.client import Client

    from trunkline.servers import Nats, Postgres
    from trunkline_workspace.document import Workspace

TRUNKLINE = Path(str(files("trunkline")))
TABLES = (
    "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace"
    " AND relkind IN ('r', 'p') AND relname NOT SIMILAR TO 're(ader|lay)%%'"
)
"""What a service keeps; how far it has read and told is no part of it."""
EXAMPLE = TRUNKLINE / "workspace.example.yaml"


@cache
def the_example() -> Workspace:
    """The workspace an instance begins with."""
    return load(EXAMPLE.read_text())


@cache
def the_plan(*groups: int) -> Plan:
    """What the application ships, for the example workspace; readers in one group or in two."""
    plan = read_plan(TRUNKLINE / "provision.yaml")
    readers = dict.fromkeys(plan.services, [*groups] or [1, 2])
    return plan_for(Plan.model_validate(plan.model_dump() | {"readers": readers}), the_example())


@dataclass
class World:
    """Where everything is, and what tests do with it."""

    data: Path
    postgres: Postgres
    nats: Nats
    database: str
    creds: Path
    key: str = field(default_factory=lambda: "")
    jwks: Path = Path()
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.key, jwks = new_key()
        self.jwks = self.data / "jwks.json"
        self.jwks.write_text(jwks)
        self.environment = {
            "TELEGRAM_MAIN_SECRET": "telegram-secret",
            "TELEGRAM_MAIN_TOKEN": "telegram-token",
            "INBOUND_KEY": "0123456789abcdef0123456789abcdef",
        }

    @property
    def admin_dsn(self) -> str:
        """The superuser's way into this world's database."""
        return self.postgres.url.rsplit("/", 1)[0] + f"/{self.database}"

    def dsn(self, service: str) -> str:
        """A service's way into it."""
        return service_dsn(self.admin_dsn, self.creds, service)

    def env(self, service: str, **more: str) -> dict[str, str]:
        """The environment a service of this world is started with."""
        return {
            "NATS_URL": self.nats.url,
            "NATS_MONITOR_URL": self.nats.monitor_url,
            "NATS_CREDS_DIR": str(self.creds),
            "SERVICE_DATABASE_URL": self.dsn(service),
            "JWKS_URL": f"file:{self.jwks}",
            "SINK_URL": "http://127.0.0.1:9",
            "HOST": "127.0.0.1",
            **self.environment,
            **more,
        }

    def settings(self, service: str, kind: type[Any], **more: str) -> Any:
        """A service's settings, made as its process would make them."""
        before = dict(os.environ)
        os.environ.update(self.env(service, **more))
        try:
            return kind()
        finally:
            for name in set(os.environ) - set(before):
                if name not in self.environment:
                    del os.environ[name]

    def token(self, *roles: str, subject: str = "tester") -> dict[str, str]:
        """The header of somebody with these roles."""
        return {"Authorization": f"Bearer {sign(self.key, subject, list(roles))}"}

    async def as_admin(self) -> Client:
        """Connect to NATS as the provisioner."""
        return await connect_as("admin", self.nats.url, self.creds)

    async def apply(self, text: str | None = None) -> int:
        """Apply a workspace (the example unless given); gives its version."""
        nc = await self.as_admin()
        try:
            return await apply(nc.jetstream(), load(text) if text else the_example())
        finally:
            await nc.close()

    async def kept(self, service: str) -> dict[str, int]:
        """Count what is kept anywhere: messages ever by stream, rows by a service's own tables."""
        nc = await self.as_admin()
        try:
            streams = await nc.jetstream().streams_info()
        finally:
            await nc.close()
        counts = {str(each.config.name): each.state.last_seq for each in streams}
        for (table,) in await self.sql(service, TABLES, service):
            ((counts[table],),) = await self.sql(service, f"SELECT count(*) FROM {table}")
        return counts

    async def sql(self, service: str, query: str, *params: Any) -> list[Any]:
        """Ask this world's database as its superuser, in one service's schema."""
        async with await psycopg.AsyncConnection.connect(self.admin_dsn, autocommit=True) as conn:
            await conn.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(service)))
            cursor = await conn.execute(query.encode(), params)
            return await cursor.fetchall() if cursor.description else []


def clone(postgres: Postgres, template: str) -> str:
    """Make a database like the provisioned one."""
    name = f"w_{uuid4().hex[:12]}"
    with psycopg.connect(postgres.url, autocommit=True) as conn:
        conn.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    return name


async def provision_nats(server: Nats, creds: Path, *groups: int) -> None:
    """Make the streams, and consumers for readers in so many groups."""
    nc = await connect_as("admin", server.url, creds)
    try:
        await provision_streams(nc.jetstream(timeout=10), the_plan(*groups))
    finally:
        await nc.close()
