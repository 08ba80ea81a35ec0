"""Everything provisioned as shipped, and one subscriber: for the tests of provisioning."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from trunkline.provision import Plan, provision, service_dsn
from trunkline.servers import Nats, Postgres


@dataclass(frozen=True)
class Provisioned:
    """Where everything is."""

    data: Path
    plan: Plan
    postgres: Postgres
    nats: Nats

    @property
    def creds(self) -> Path:
        return self.data / "creds"

    def dsn(self, service: str) -> str:
        return service_dsn(self.postgres.url, self.creds, service)

    def provision(self) -> list[str]:
        return asyncio.run(self.provisioned())

    async def provisioned(self) -> list[str]:
        return await provision(self.postgres.url, self.nats.url, self.creds, self.plan)
