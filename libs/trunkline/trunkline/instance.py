"""An instance: its data folder, its ports and the environment of each of its processes."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import urlsplit, urlunsplit

from chassis.messaging.slots import SLOT_GROUPS
from trunkline import secret_values
from trunkline.paths import CannotStart
from trunkline.provision import Plan, read_plan, service_dsn
from trunkline.tokens import Signer, write_private
from trunkline_workspace.reading import load

FOLDER = Path(__file__).parent
PLAN = FOLDER / "provision.yaml"
EXAMPLE = FOLDER / "workspace.example.yaml"

SERVICE_PORTS = {"ingest": 1, "routing": 2, "tickets": 3, "sla": 4, "notify": 5}
SINK, NATS, NATS_MONITOR, POSTGRES = 9, 22, 23, 32
SMTP_PORTS = {"ingest": 25, "sink": 26}
HIGHEST_BASE = 65535 - POSTGRES

SERVICES_WITH_SECRETS = {"ingest", "notify"}
"""The services that talk to platforms and therefore receive the secrets of `secrets.env`."""
INBOUND_KEY_NAME = "INBOUND_KEY"
"""The key of the HMAC in inbound ids: generated like a secret, but not named in workspaces."""


@dataclass(frozen=True)
class Instance:
    """A data folder and its first port."""

    data: Path
    base: int = 8000

    @classmethod
    def running(cls, data: Path) -> Self:
        """Return the instance of this folder, or one with the servers the environment names.

        Raises `CannotStart` if none was ever started.
        """
        base = read_state(data).get("base")
        if os.environ.get("NATS_URL") and os.environ.get("DATABASE_URL"):
            return cls(data.absolute(), base if isinstance(base, int) else cls.base)
        if not isinstance(base, int):
            raise CannotStart(f"no instance was ever started in {data}: run `trunkline up` first")
        return cls(data.absolute(), base)

    def port(self, offset: int) -> int:
        """Return a port of the instance."""
        return self.base + offset

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self.data / "logs" / f"{name}.log"

    @property
    def creds(self) -> Path:
        """The folder of seeds and passwords, one file each."""
        return self.data / "creds"

    @property
    def nats_url(self) -> str:
        """The address of NATS: from NATS_URL, else of the instance's own server."""
        return os.environ.get("NATS_URL") or f"nats://127.0.0.1:{self.port(NATS)}"

    @property
    def monitor_url(self) -> str | None:
        """The monitoring address of NATS; for an external server, NATS_MONITOR_URL must name it."""
        if os.environ.get("NATS_URL"):
            return os.environ.get("NATS_MONITOR_URL")
        return f"http://127.0.0.1:{self.port(NATS_MONITOR)}"

    @property
    def database_url(self) -> str:
        """The address of PostgreSQL for the administrator."""
        address = f"127.0.0.1:{self.port(POSTGRES)}/postgres"
        return os.environ.get("DATABASE_URL") or f"postgresql://postgres:{self.password}@{address}"

    @property
    def password(self) -> str:
        """The password of the embedded PostgreSQL's superuser, generated once."""
        file = self.creds / "postgres.pg"
        if not file.exists():
            write_private(file, secrets.token_urlsafe(24))
        return file.read_text().strip()

    @property
    def signer(self) -> Signer:
        """The signer of tokens."""
        return Signer(self.data)

    @property
    def plan(self) -> Plan:
        """The provisioning plan; READERS applies to services the file does not name.

        If READERS is not set, the value of the last `up` applies. Raises `CannotStart` for a
        number that is not allowed.
        """
        readers = os.environ.get("READERS") or read_state(self.data).get("readers") or 1
        if str(readers) not in map(str, SLOT_GROUPS):
            allowed = ", ".join(map(str, SLOT_GROUPS))
            raise CannotStart(f"READERS must be one of {allowed}, not {readers}")
        return read_plan(PLAN).with_readers(int(readers))

    def url(self, service: str) -> str:
        """Return the address of a service or the sink."""
        return f"http://127.0.0.1:{self.port({**SERVICE_PORTS, 'sink': SINK}[service])}"

    @property
    def sink_smtp(self) -> str:
        """The SMTP address of the sink."""
        return f"smtp://127.0.0.1:{self.port(SMTP_PORTS['sink'])}"

    @property
    def secrets_file(self) -> Path:
        """The file with the secrets a workspace may refer to."""
        return self.data / "secrets.env"

    def make_secrets(self) -> None:
        """Generate the missing secrets of the example workspace."""
        example = load(EXAMPLE.read_text(encoding="utf-8")).model_dump(mode="json")
        secret_values.ensure(self.secrets_file, example, (INBOUND_KEY_NAME,))

    def environment(self, service: str, number: int = 1) -> dict[str, str]:
        """Return the environment of a service's process, or of the sink's.

        Ports belong to the first replica. Only `SERVICES_WITH_SECRETS` receive secrets, whether
        from the file or from the environment; no process receives the administrator's database
        address.
        """
        secrets_by_name = secret_values.read(self.secrets_file)
        withheld = {*secrets_by_name, "SMTP_PORT", "DATABASE_URL", "SERVICE_DATABASE_URL"}
        environment = {name: value for name, value in os.environ.items() if name not in withheld}
        if service in SMTP_PORTS and number == 1:
            environment["SMTP_PORT"] = str(self.port(SMTP_PORTS[service]))
        if not environment.get("JWKS_URL"):
            environment["JWKS_URL"] = self.signer.jwks_file.as_uri()
        environment.setdefault("SINK_URL", self.url("sink"))
        environment.setdefault("SINK_SMTP", self.sink_smtp)
        environment.setdefault("NATS_CREDS_DIR", str(self.creds))
        environment["NATS_URL"] = self.nats_url
        if self.monitor_url is not None:
            environment["NATS_MONITOR_URL"] = self.monitor_url
        if service in SERVICE_PORTS:
            groups = [str(number) for number in self.plan.groups(service)]
            if environment.get("READERS") not in groups:
                environment["READERS"] = groups[-1]
            environment["SERVICE_DATABASE_URL"] = service_dsn(
                self.database_url, self.creds, service
            )
        if service in SERVICES_WITH_SECRETS:
            environment |= secrets_by_name
        if service != "ingest":
            environment.pop(INBOUND_KEY_NAME, None)
        return environment

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the data folder for this process; raises `CannotStart` if another `up` holds it."""
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "lock").open("a+") as lock:
            if not _try_lock(lock):
                pid = lock_holder(self.data) or "not known yet"
                raise CannotStart(f"an instance runs in {self.data} already (pid {pid})")
            lock.truncate(0)
            print(os.getpid(), file=lock, flush=True)
            yield


def without_password(url: str) -> str:
    """Return the address of a server without its password.

    A PostgreSQL address is a URL, with the password after the user or in the query, or
    `key=value` pairs.
    """
    if "://" not in url:
        return re.sub(r"\bpassword\s*=\s*('(?:\\.|[^'\\])*'|\S+)\s*", "", url).strip()
    parts = urlsplit(url)
    user, at, address = parts.netloc.rpartition("@")
    query = "&".join(
        parameter
        for parameter in parts.query.split("&")
        if not parameter.lower().startswith("password=")
    )
    return urlunsplit(parts._replace(netloc=user.partition(":")[0] + at + address, query=query))


def _try_lock(lock: IO[str]) -> bool:
    for _ in range(10):  # `lock_holder` takes the lock for a moment
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def lock_holder(data: Path) -> int | None:
    """Return the process id of the `up` that runs in this folder; None if there is none.

    0 if it has not written its id yet. The id is read from the lock file, which the owner of the
    lock writes: `run.json` may be left from an earlier instance.
    """
    try:
        with (data / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                content = lock.read().strip()
                return int(content) if content.isdigit() else 0
    except FileNotFoundError:
        return None
    return None


def read_state(data: Path) -> dict[str, Any]:
    """Return the state the supervisor wrote last; empty if there is none."""
    try:
        state: dict[str, Any] = json.loads((data / "run.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return state


def write_state(data: Path, state: Mapping[str, Any]) -> None:
    """Write the state that `status` and `down` read."""
    write_private(data / "run.json", json.dumps(state, indent=1))
