"""The embedded servers: nats-server and PostgreSQL as child processes on 127.0.0.1."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit

import psycopg

from trunkline import paths
from trunkline.child import Child, free_port, spawn, wait_for_port
from trunkline.paths import CannotStart

__all__ = ["CannotStart", "Nats", "Postgres", "free_port"]

_STORE_DIR = re.compile(rb'\bstore_dir\s*[:=]?\s*(?:"[^"]*"|[^\s,}]+),?')


SCRAM_ITERATIONS = 64
"""Low, because the passwords are long and random: more iterations would only slow down logins."""
PREDECESSOR_TIMEOUT_S = 15.0
"""How long a predecessor may take for its last checkpoint, after its parent was killed."""
_PREDECESSOR_ERRORS = ("still in use", "already exists", "already in use", "is being used")


class Postgres(Child):
    """PostgreSQL in the folder `data`, over TCP with SCRAM only. Port 0 selects a free port."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # fast shutdown: ends the sessions and writes a checkpoint

    def __init__(
        self,
        data: Path,
        port: int,
        password: str,
        *,
        bindir: Path | None = None,
        log: Path | None = None,
        sync: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(log or data.with_name(f"{data.name}.log"))
        self.data, self.port, self.password = data, port, password
        self._bindir, self._sync, self._settings = bindir, sync, dict(settings or {})

    @property
    def url(self) -> str:
        """The connection URL of the superuser."""
        return (
            f"postgresql://postgres:{quote(self.password, safe='')}@127.0.0.1:{self.port}/postgres"
        )

    def start(self) -> Self:
        """Create the cluster if there is none, start the server and wait until it answers."""
        home = paths.prepare(self.data)
        if not (home / "cluster").exists():
            self._initdb(home)
        fixed_port = self.port
        for _ in range(40):
            self.port = fixed_port or free_port()
            has_predecessor = (home / "cluster" / "postmaster.pid").exists()
            wait_for_port(self.port, self.name, PREDECESSOR_TIMEOUT_S if has_predecessor else 1.0)
            log_start = self.log_size()
            self._run(home)
            if self.await_ready(self._accepts_login):
                return self
            error = self.last_error(log_start)
            if not any(word in error for word in _PREDECESSOR_ERRORS):
                break
            time.sleep(0.1)  # processes of a predecessor are still ending
        raise CannotStart(f"PostgreSQL ended at once ({error}); see {self.log}")

    def _binary(self, name: str) -> Path:
        binary = (self._bindir or paths.postgres_bin()) / name
        if not binary.is_file():
            raise CannotStart(f"PostgreSQL's {name} is missing: there is no {binary}")
        return binary

    def _environment(self, home: Path) -> dict[str, Any]:
        return {
            "cwd": home,
            "env": {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            **paths.unprivileged_user(),
        }

    def _initdb(self, home: Path) -> None:
        unfinished, secret = home / "unfinished", home / "password"
        shutil.rmtree(unfinished, ignore_errors=True)
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        paths.chown(secret)
        command: list[str | Path] = [
            self._binary("initdb"),
            "-D",
            unfinished,
            "-U",
            "postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
        ]
        command += [f"--pwfile={secret}", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command += ["-c", f"scram_iterations={SCRAM_ITERATIONS}"]
        try:
            result = subprocess.run(  # noqa: S603 (our own binaries)
                command + ([] if self._sync else ["--no-sync"]),
                check=False,
                capture_output=True,
                text=True,
                **self._environment(home),
            )
        finally:
            secret.unlink()
        if result.returncode:
            reason = (result.stderr.strip().splitlines() or ["no output"])[-1]
            raise CannotStart(f"initdb failed in {home}: {reason}")
        unfinished.rename(home / "cluster")

    def _run(self, home: Path) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",  # the path of a socket is limited to 107 bytes
            "max_connections": "200",
            "max_wal_size": "2GB",
            "checkpoint_timeout": "15min",
            "jit": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self._settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.process = spawn(
            [self._binary("postgres"), "-D", home / "cluster", *options],
            log=self.log,
            dies_by=self.stop_signal,
            **self._environment(home),
        )

    def _accepts_login(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                self.stop()
                raise CannotStart(
                    f"PostgreSQL in {self.data} was created with another password"
                ) from None
            return False
        return True


class Nats(Child):
    """nats-server with the given configuration, which is copied into its store folder.

    The store folder replaces a `store_dir` of the configuration. The server chooses ports given as
    -1 itself, so tests never compete for one.
    """

    name = "nats-server"

    def __init__(
        self,
        config: Path,
        store: Path,
        port: int = -1,
        monitor_port: int = -1,
        *,
        binary: Path | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(log or store.with_name(f"{store.name}.log"))
        self.config, self.store, self.port, self.monitor_port = config, store, port, monitor_port
        self._binary = binary

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        """The URL of /healthz and /jsz."""
        return f"http://127.0.0.1:{self.monitor_port}"

    def start(self) -> Self:
        """Start the server and wait until it is healthy; a restart keeps its ports."""
        home = paths.prepare(self.store)
        for port in (self.port, self.monitor_port):
            if port > 0:
                wait_for_port(port, self.name)
        log_start = self.log_size()
        self._run(home)
        if self.await_ready(lambda: self._read_ports(home) and self._healthy()):
            return self
        raise CannotStart(
            f"nats-server ended at once ({self.last_error(log_start)}); see {self.log}"
        )

    def reload(self) -> None:
        """Reload the configuration of the running server."""
        reload(self.config, self.store, self.pid, self.monitor_url)

    def _run(self, home: Path) -> None:
        binary = self._binary or paths.nats_server()
        if not binary.is_file():
            raise CannotStart(f"nats-server is missing: there is no {binary}")
        config = _copy_config(self.config, home)
        for stale in home.glob("nats-server*_*.ports"):
            stale.unlink()
        command: list[str | Path] = [binary, "-c", config, "-a", "127.0.0.1", "-p", str(self.port)]
        command += ["-m", str(self.monitor_port), "-sd", home, "--ports_file_dir", home]
        self.process = spawn(
            command,
            log=self.log,
            dies_by=self.stop_signal,
            cwd=home,
            env={
                "PATH": os.defpath,
                "GOMEMLIMIT": os.environ.get("GOMEMLIMIT", "192MiB"),
                "TZ": "UTC",
            },
            **paths.unprivileged_user(),
        )

    def _read_ports(self, home: Path) -> bool:
        """Read the ports that the server chose; return False if it has not written them yet."""
        file = next(home.glob(f"*_{self.pid}.ports"), None)
        if file is None:
            return False
        with contextlib.suppress(json.JSONDecodeError):  # half written
            ports_by_name: dict[str, list[str]] = json.loads(file.read_bytes())
            self.port = _port(ports_by_name["nats"])
            self.monitor_port = _port(ports_by_name["monitoring"])
            return True
        return False

    def health_problem(self) -> str | None:
        """Return the status of a failed health check: after a write error only a restart helps."""
        status = self._health(0.5)
        return None if status in {None, 200} else f"its /healthz returns {status}"

    def _healthy(self) -> bool:
        return self._health(2) == 200

    def _health(self, timeout: float) -> int | None:
        """Return the status code of /healthz; None without an answer."""
        try:
            with urllib.request.urlopen(f"{self.monitor_url}/healthz", timeout=timeout) as answer:  # noqa: S310
                return int(answer.status)
        except HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return None


def reload(config: Path, store: Path, pid: int, monitor_url: str) -> None:
    """Reload the configuration of a running nats-server, and wait until it is in force.

    It is reloaded twice: the server connects the imports of an account only if it already knows
    the account. Raise CannotStart if the server rejects the configuration.
    """
    _copy_config(config, paths.prepare(store))
    for _ in range(2):
        before = _config_load_time(monitor_url)
        os.kill(pid, signal.SIGHUP)
        deadline = time.monotonic() + 5
        while _config_load_time(monitor_url) == before:
            if time.monotonic() > deadline:
                raise CannotStart(f"nats-server did not accept {config}; see its log")
            time.sleep(0.02)


def _config_load_time(monitor_url: str) -> str:
    with urllib.request.urlopen(f"{monitor_url}/varz", timeout=5) as answer:  # noqa: S310
        return str(json.load(answer)["config_load_time"])


def _copy_config(config: Path, home: Path) -> Path:
    try:
        text = config.read_bytes()
    except OSError as error:
        raise CannotStart(
            f"nats-server's configuration {config} cannot be read: {error.strerror}"
        ) from None
    copy = home / "nats-server.conf"
    copy.touch(mode=0o600)
    copy.write_bytes(_STORE_DIR.sub(b"", text))
    paths.chown(copy)
    return copy


def _port(urls: Iterable[str]) -> int:
    return urlsplit(next(iter(urls))).port or 0
