"""One PostgreSQL and one NATS, provisioned as declared, for the tests of provisioning and the workspace."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest
from chassis.provision import Plan, Subscriber, provision, read_plan, service_dsn, write_files
from trunkline import places
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


@pytest.fixture(scope="session")
def plan() -> Plan:
    """The file the application ships, and one subscriber."""
    file = Path(str(files("trunkline") / "provision.yaml"))
    return read_plan(file).with_subscribers({"crm": Subscriber(streams=["TICKETS"])})


@pytest.fixture(scope="session")
def provisioned(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Iterator[Provisioned]:
    data = tmp_path_factory.mktemp("provisioned")
    config = write_files(data, plan, port=-1, monitor_port=-1)
    with (
        Postgres(data / "postgres", 0, "admin", sync=False) as postgres,
        Nats(config, data / "nats") as nats,
    ):
        here = Provisioned(data, plan, postgres, nats)
        here.provision()
        yield here
    for home in ("nats", "postgres"):
        places.abandon(data / home)
