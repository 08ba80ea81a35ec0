"""One PostgreSQL and one NATS, provisioned as declared, for the tests of provisioning."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from provisioned import Provisioned

from trunkline import places
from trunkline.provision import Plan, Subscriber, read_plan, write_files
from trunkline.servers import Nats, Postgres


@pytest.fixture(scope="session")
def plan() -> Plan:
    """The file the application ships, one subscriber, and two integrators."""
    file = Path(str(files("trunkline") / "provision.yaml"))
    plan = read_plan(file).with_subscribers({"crm": Subscriber(streams=["TICKETS"])})
    return plan.with_integrators(["acme", "Globex-2"])


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
