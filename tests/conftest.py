"""Servers for every test: one PostgreSQL cluster per run, one NATS and one database per test."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from world import World, clone, provision_nats, the_plan
from xdist.scheduler.loadscope import LoadScopeScheduling

from trunkline import paths
from trunkline.provision import provision_postgres, write_files
from trunkline.servers import Nats, Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPLATE = "provisioned"
MEMORY, ROOM = Path("/dev/shm"), 4 << 30
TOGETHER = ("faults", "journeys")
"""Folders whose tests share a running instance. What takes longest begins first."""


def pytest_report_header() -> str:
    """Name the seed that chooses a tenth of a corpus; set it to try the same bodies again."""
    return f"CORPUS_SEED={os.environ['CORPUS_SEED']}"


def pytest_configure() -> None:
    """Keep the servers' files in memory where there is room: they sync for every test.

    What a shell runs in the background is deaf to SIGINT, and so would be what tests start.
    """
    os.environ.setdefault("CORPUS_SEED", secrets.token_hex(4))  # workers inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if MEMORY.is_mount() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
        os.environ.setdefault("TRUNKLINE_GROUND", str(MEMORY))


class Together(LoadScopeScheduling):
    """A file's tests share its servers, some folders' a running instance: one worker runs them."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in TOGETHER if f"/{folder}/" in file), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    """Say which tests may run side by side."""
    config.option.loadscopereorder = False
    return Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest chain, so that nothing long is left over for the end."""
    items.sort(key=lambda item: item.path.parent.name != TOGETHER[0])


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this run keeps its files: the servers' configuration and everybody's secrets."""
    data = tmp_path_factory.mktemp("house")
    write_files(data, the_plan(), port=-1, monitor_port=-1)
    return data


@pytest.fixture(scope="session")
def cluster(house: Path) -> Iterator[Postgres]:
    """A PostgreSQL with one provisioned database to make others from."""
    with Postgres(house / "postgres", 0, "admin", sync=False) as postgres:
        with psycopg.connect(postgres.url, autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {TEMPLATE}".encode())
        dsn = postgres.url.rsplit("/", 1)[0] + f"/{TEMPLATE}"
        asyncio.run(provision_postgres(dsn, house / "creds", the_plan()))
        yield postgres
    paths.remove(house / "postgres")


@pytest.fixture
def world(house: Path, cluster: Postgres, tmp_path: Path) -> Iterator[World]:
    """A provisioned world of this test's own."""
    with Nats(house / "nats.conf", tmp_path / "nats") as nats:
        asyncio.run(provision_nats(nats, house / "creds"))
        name = clone(cluster, TEMPLATE)
        yield World(tmp_path, cluster, nats, name, house / "creds")
    paths.remove(tmp_path / "nats")
    with psycopg.connect(cluster.url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
