"""What a process is handed under `trunkline up`, and what `status` shows of the servers."""

import os
from pathlib import Path

import pytest

from trunkline.instance import SERVICE_PORTS, SERVICES_WITH_SECRETS, Instance, without_password
from trunkline.provisioning import write_files

PROCESSES = [*SERVICE_PORTS, "sink"]


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """Return an instance with files; `up` itself knows one secret and the administrator's URL."""
    for name in [name for name in os.environ if name.endswith(("_SECRET", "_TOKEN"))]:
        monkeypatch.delenv(name)  # another test of this process may have left it
    monkeypatch.setenv("TELEGRAM_MAIN_TOKEN", "1:real")
    monkeypatch.setenv("DATABASE_URL", "postgresql://admin:hidden@db.test/trunkline")
    made = Instance(tmp_path)
    write_files(made)
    made.make_secrets()
    return made


@pytest.mark.parametrize("name", PROCESSES)
def test_process_gets_secrets_only_where_needed(instance: Instance, name: str) -> None:
    known = instance.environment(name)

    secrets = [key for key in known if key.endswith(("_SECRET", "_TOKEN"))]
    assert bool(secrets) == (name in SERVICES_WITH_SECRETS)
    assert ("1:real" in known.values()) == (name in {"ingest", "notify"})
    assert ("INBOUND_KEY" in known) == (name == "ingest")


@pytest.mark.parametrize("name", PROCESSES)
def test_process_gets_no_way_in_but_its_own(instance: Instance, name: str) -> None:
    known = instance.environment(name)

    assert "hidden" not in "".join(known.values())
    assert ("SERVICE_DATABASE_URL" in known) == (name in SERVICE_PORTS)
    assert f"user={name}" in known.get("SERVICE_DATABASE_URL", f"user={name}")


def test_secret_everywhere_is_noticed(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: were all services handed secrets, the rule above would not hold."""
    monkeypatch.setattr("trunkline.instance.SERVICES_WITH_SECRETS", set(SERVICE_PORTS))

    assert "1:real" in instance.environment("sla").values()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql://postgres:s3cret@127.0.0.1:8032/postgres",
            "postgres@127.0.0.1:8032/postgres",
        ),
        ("postgresql://a:b%40c:d@h/x?sslmode=require", "a@h/x?sslmode=require"),
        ("postgresql://a@h/x?password=s3cret&sslmode=require", "a@h/x?sslmode=require"),
        ("postgresql://a:x@h1,h2:5/x", "a@h1,h2:5/x"),
        ("nats://user:s3cret@nats.test:4222", "user@nats.test:4222"),
        ("nats://nats.test:4222", "nats.test:4222"),
        ("host=h user=a password=s3cret dbname=x", "host=h user=a dbname=x"),
        ("host=h password='s3 c\\'ret' dbname=x", "host=h dbname=x"),
    ],
)
def test_address_is_shown_without_its_password(url: str, shown: str) -> None:
    scheme, slashes, _ = url.partition("//")
    assert without_password(url) == (f"{scheme}//{shown}" if slashes else shown)
