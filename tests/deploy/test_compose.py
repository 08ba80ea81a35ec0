"""The composed system: what the file says is well-formed, and what it tells a service is enough."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from desk import soon
from ruamel.yaml import YAML
from service_settings import settings_class

from trunkline import paths
from trunkline.child import free_port
from trunkline.servers import Nats, Postgres
from trunkline.tokens import Signer

ROOT = Path(__file__).parents[2]
SERVICES = ("ingest", "routing", "tickets", "sla", "notify")
PLACE = "/run/trunkline"
CHOICE = re.compile(r"\$\{\w+:-([^}]*)\}")
COMPOSE = YAML(typ="safe", pure=True).load(
    CHOICE.sub(r"\1", (ROOT / "docker-compose.yml").read_text())
)
TRUNKLINE = [sys.executable, "-m", "trunkline"]


def test_the_file_is_as_compose_wants_it() -> None:
    said = subprocess.run(
        [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema",
         "vendor.compose-spec", "docker-compose.yml"],
        cwd=ROOT, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout


def test_the_dockerfile_is_clean() -> None:
    said = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "deploy/Dockerfile"],
        cwd=ROOT, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout


def test_the_image_is_nobodys_and_checks_its_health() -> None:
    *_, final = (ROOT / "deploy/Dockerfile").read_text().split("\nFROM ")
    assert "USER 10001:10001" in final
    assert "/health/ready" in final
    assert "apt-get" not in final


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_be_scaled_and_is_told_what_it_understands(service: str) -> None:
    told = COMPOSE["services"][service]
    fields = settings_class(service).model_fields
    understood = {name.upper() for name in fields} | {"DATABASE_URL"}

    assert told["command"][:2] == ["serve", service]
    assert set(told["environment"]) <= understood
    assert all(":" not in port for port in told["ports"])
    assert "container_name" not in told
    assert {f"{service}.nk", f"{service}-relay.nk", f"{service}.pg"} <= {
        secret["source"] for secret in told["secrets"]
    }
    assert not any("admin" in secret["source"] for secret in told["secrets"])


def told(service: str, at: dict[str, str]) -> dict[str, str]:
    """A container's environment, where the others are at these addresses."""
    environment = {"PATH": os.environ["PATH"], "HOST": "127.0.0.1"}
    for name, value in COMPOSE["services"][service]["environment"].items():
        for where, here in at.items():
            value = str(value).replace(where, here)
        environment[name] = str(value)
    return environment


def secrets_of(service: str, files: Path, home: Path) -> None:
    """Lay out the secrets a container is given, and no others, as if `home` were its root."""
    for secret in COMPOSE["services"][service]["secrets"]:
        secret = {"source": secret} if isinstance(secret, str) else secret
        source = COMPOSE["secrets"][secret["source"]]["file"]
        target = home / secret.get("target", f"/run/secrets/{secret['source']}").lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text((files / Path(source).relative_to(".trunkline-compose")).read_text())


@contextmanager
def servers(files: Path, tmp: Path) -> Iterator[dict[str, str]]:
    """NATS as configured for it, and PostgreSQL with its password; where they are."""
    password = (files / "creds/postgres.pg").read_text()
    with (
        Nats(files / "nats.conf", tmp / "nats") as nats,
        Postgres(tmp / "postgres", 0, password, sync=False) as postgres,
    ):
        with psycopg.connect(postgres.url, autocommit=True) as db:
            db.execute("CREATE DATABASE trunkline")
        yield {
            "nats:4222": f"127.0.0.1:{nats.port}",
            "nats:8222": f"127.0.0.1:{nats.monitor_port}",
            "@postgres:5432": f"@127.0.0.1:{postgres.port}",
        }
    for name in ("nats", "postgres"):
        paths.remove(tmp / name)


def provision(files: Path, tmp: Path, at: dict[str, str]) -> None:
    """What the container `provision` does."""
    home = tmp / "provision"
    secrets_of("provision", files, home)
    environment = told("provision", at | {"/run/secrets": str(home / "run/secrets")})
    environment["PGPASSWORD"] = (home / "run/secrets/postgres.pg").read_text()
    example = ROOT / "libs/trunkline/trunkline/workspace.example.yaml"
    for words in (["provision"], ["apply", str(example)]):
        done = subprocess.run(
            [*TRUNKLINE, *words, "--data", str(home / "tmp")],
            text=True, capture_output=True, env=environment, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(120)  # all of it is started
def test_what_the_containers_are_told_is_enough(tmp_path: Path) -> None:
    files = tmp_path / "files"
    subprocess.run(
        [*TRUNKLINE, "provision", "--files", "--data", files, "--listen", "0.0.0.0", "--store",
         "/data"], check=True, capture_output=True, timeout=30,
        env=told("files", {}) | {"NATS_URL": f"nats://127.0.0.1:{free_port()}"},
    )  # fmt: skip
    assert 'store_dir: "/data"' in (files / "nats.conf").read_text()
    ports = {service: free_port() for service in SERVICES}
    with servers(files, tmp_path) as at, ExitStack() as stack:
        provision(files, tmp_path, at)
        running = {}
        for service in SERVICES:
            home = tmp_path / service
            secrets_of(service, files, home)
            environment = told(service, at | {PLACE: str(home) + PLACE}) | {"SMTP_PORT": "0"}
            log = stack.enter_context((tmp_path / f"{service}.log").open("w"))
            running[service] = stack.enter_context(
                subprocess.Popen(
                    [*TRUNKLINE, "serve", service, "--data", str(home) + PLACE],
                    env=environment | {"PORT": str(ports[service])}, stdout=log, stderr=log,
                )
            )  # fmt: skip
        try:
            http = stack.enter_context(httpx.Client())
            for service, port in ports.items():
                url = f"http://127.0.0.1:{port}/health/ready"
                soon(lambda url=url: http.get(url).status_code == 200, within=60)
                assert running[service].poll() is None
            token = Signer(files).token("boss", ["supervisor"])
            ledger = http.get(
                f"http://127.0.0.1:{ports['ingest']}/v1/ledger",
                headers={"Authorization": f"Bearer {token}"},
            )
            assert ledger.status_code == 200, ledger.text
            assert json.loads(ledger.text)["pending"] == 0
        finally:
            for process in running.values():
                process.send_signal(signal.SIGTERM)
            ended: dict[str, Any] = {name: p.wait(20) for name, p in running.items()}
    assert set(ended.values()) == {0}
