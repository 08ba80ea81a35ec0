"""Servers for every test: one PostgreSQL cluster per run, one NATS and one database per test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest
from world import World, clone, provision_nats, the_plan

from chassis.provision import provision_postgres, write_files
from trunkline import places
from trunkline.servers import Nats, Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPLATE = "provisioned"


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
    places.abandon(house / "postgres")


@pytest.fixture
def world(house: Path, cluster: Postgres, tmp_path: Path) -> Iterator[World]:
    """A provisioned world of this test's own."""
    with Nats(house / "nats.conf", tmp_path / "nats") as nats:
        asyncio.run(provision_nats(nats, house / "creds"))
        name = clone(cluster, TEMPLATE)
        yield World(tmp_path, cluster, nats, name, house / "creds")
    places.abandon(tmp_path / "nats")
    with psycopg.connect(cluster.url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
