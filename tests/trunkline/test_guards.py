"""A server that acknowledges before it has written is refused, and the setting is named."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chassis.postgres.durability_checks import UnsafeServer, check_nats, check_postgres
from trunkline import paths
from trunkline.servers import Nats, Postgres, free_port


@pytest.fixture
def nats(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Nats]:
    config = tmp_path / "nats.conf"
    config.write_text(request.param)
    with Nats(config, tmp_path / "nats") as server:
        yield server
    paths.remove(tmp_path / "nats")


@pytest.fixture
def postgres(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Postgres]:
    data = tmp_path / "postgres"
    with Postgres(data, 0, "secret", sync=False, settings=request.param) as server:
        yield server
    paths.remove(data)


@pytest.mark.parametrize("nats", ["jetstream { sync_interval: always }"], indirect=True)
async def test_nats_with_sync_always_is_taken(nats: Nats) -> None:
    await check_nats(nats.monitor_url)


@pytest.mark.parametrize(
    "nats", ["jetstream: enabled", "jetstream { sync_interval: 1s }", "port: 4222"], indirect=True
)
async def test_nats_without_is_refused(nats: Nats) -> None:
    with pytest.raises(UnsafeServer, match="sync_interval: always"):
        await check_nats(nats.monitor_url)


async def test_who_cannot_be_asked_is_not_trusted() -> None:
    with pytest.raises(UnsafeServer, match="NATS_MONITOR_URL"):
        await check_nats(None)
    with pytest.raises(ConnectionError, match="NATS does not answer at http"):
        await check_nats(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ConnectionError, match="PostgreSQL does not answer: "):
        await check_postgres(f"postgresql://127.0.0.1:{free_port()}/none")


@pytest.mark.parametrize("postgres", [{}], indirect=True)
async def test_postgres_with_fsync_is_taken(postgres: Postgres) -> None:
    await check_postgres(postgres.url)


@pytest.mark.parametrize(
    "postgres", [{"fsync": "off"}, {"synchronous_commit": "off"}], indirect=True, ids=str
)
async def test_postgres_without_is_refused(
    postgres: Postgres, request: pytest.FixtureRequest
) -> None:
    [setting] = request.node.callspec.params["postgres"]
    with pytest.raises(UnsafeServer, match=f"{setting} = on"):
        await check_postgres(postgres.url)
