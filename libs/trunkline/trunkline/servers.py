"""The embedded servers: nats-server and PostgreSQL as direct children, on 127.0.0.1.

Both stand in one file because a reader who wants one soon wants the other; that makes it long.
"""

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
"""Passwords here are long and random, which stretching makes no stronger, only slower to check."""
LEAVES_WITHIN = 15.0
"""Seconds a predecessor may take for its last checkpoint, when whoever kept it was killed."""
_LEAVING = ("still in use", "already exists", "already in use", "is being used")


class Postgres(Child):
    """PostgreSQL in the folder `data`, over TCP with scram only. Port 0 takes a free one."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # a fast shutdown: sessions are ended, everything is on disk

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
        """The superuser's address."""
        return (
            f"postgresql://postgres:{quote(self.password, safe='')}@127.0.0.1:{self.port}/postgres"
        )

    def start(self) -> Self:
        """Make the cluster if there is none, start the server and wait until it answers."""
        home = paths.place(self.data)
        if not (home / "cluster").exists():
            self._initdb(home)
        chosen = self.port
        for _ in range(40):
            self.port = chosen or free_port()
            leaving = (home / "cluster" / "postmaster.pid").exists()
            wait_for_port(self.port, self.name, LEAVES_WITHIN if leaving else 1.0)
            since = self.written()
            self._run(home)
            if self.await_ready(self._answers):
                return self
            complaint = self.complaint(since)
            if not any(word in complaint for word in _LEAVING):
                break
            time.sleep(0.1)  # a predecessor's last processes are still leaving
        raise CannotStart(f"PostgreSQL ended at once ({complaint}); see {self.log}")

    def _binary(self, name: str) -> Path:
        binary = (self._bindir or paths.postgres_bin()) / name
        if not binary.is_file():
            raise CannotStart(f"PostgreSQL's {name} is missing: there is no {binary}")
        return binary

    def _environment(self, home: Path) -> dict[str, Any]:
        return {
            "cwd": home,
            "env": {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            **paths.servant(),
        }

    def _initdb(self, home: Path) -> None:
        fresh, secret = home / "unfinished", home / "password"
        shutil.rmtree(fresh, ignore_errors=True)
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        paths.give(secret)
        command: list[str | Path] = [
            self._binary("initdb"),
            "-D",
            fresh,
            "-U",
            "postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
        ]
        command += [f"--pwfile={secret}", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command += ["-c", f"scram_iterations={SCRAM_ITERATIONS}"]
        try:
            made = subprocess.run(  # noqa: S603 (our own binaries)
                command + ([] if self._sync else ["--no-sync"]),
                check=False,
                capture_output=True,
                text=True,
                **self._environment(home),
            )
        finally:
            secret.unlink()
        if made.returncode:
            reason = (made.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise CannotStart(f"initdb failed in {home}: {reason}")
        fresh.rename(home / "cluster")

    def _run(self, home: Path) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",  # a socket's path is too short for most data folders
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

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                self.stop()
                raise CannotStart(
                    f"PostgreSQL in {self.data} was made with another password"
                ) from None
            return False
        return True


class Nats(Child):
    """nats-server with the given configuration, copied into the folder of its store.

    A `store_dir` in the configuration gives way to that folder. Ports of -1 are chosen by the
    server itself, so tests never race for one.
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
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        """Where /healthz and /jsz are."""
        return f"http://127.0.0.1:{self.monitor_port}"

    def start(self) -> Self:
        """Start the server and wait until it is healthy; a restart keeps the ports it had."""
        home = paths.place(self.store)
        for port in (self.port, self.monitor_port):
            if port > 0:
                wait_for_port(port, self.name)
        since = self.written()
        self._run(home)
        if self.await_ready(lambda: self._learnt(home) and self._healthy()):
            return self
        raise CannotStart(f"nats-server ended at once ({self.complaint(since)}); see {self.log}")

    def reload(self) -> None:
        """Make the running server read its configuration again."""
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
            **paths.servant(),
        )

    def _learnt(self, home: Path) -> bool:
        """Read the ports the server chose."""
        ports = next(home.glob(f"*_{self.pid}.ports"), None)
        if ports is None:
            return False
        with contextlib.suppress(json.JSONDecodeError):  # half written
            told: dict[str, list[str]] = json.loads(ports.read_bytes())
            self.port, self.monitor_port = _port(told["nats"]), _port(told["monitoring"])
            return True
        return False

    def sick(self) -> str | None:
        """Say what it complains of: once it could not write, it refuses until it starts anew."""
        status = self._health(0.5)
        return None if status in {None, 200} else f"its /healthz says {status}"

    def _healthy(self) -> bool:
        return self._health(2) == 200

    def _health(self, timeout: float) -> int | None:
        """Ask how it does; None when it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.monitor_url}/healthz", timeout=timeout) as answer:  # noqa: S310
                return int(answer.status)
        except HTTPError as refused:
            refused.close()
            return refused.code
        except OSError:
            return None


def reload(config: Path, store: Path, pid: int, monitor_url: str) -> None:
    """Make a running nats-server read its configuration again, and wait until it has.

    It does so twice: what an account that is new imports is joined only when it is known already.
    """
    _copy_config(config, paths.place(store))
    for _ in range(2):
        before = _loaded_at(monitor_url)
        os.kill(pid, signal.SIGHUP)
        until = time.monotonic() + 5
        while _loaded_at(monitor_url) == before:
            if time.monotonic() > until:
                raise CannotStart(f"nats-server did not take {config}; its log says why")
            time.sleep(0.02)


def _loaded_at(monitor_url: str) -> str:
    with urllib.request.urlopen(f"{monitor_url}/varz", timeout=5) as answer:  # noqa: S310
        return str(json.load(answer)["config_load_time"])


def _copy_config(config: Path, home: Path) -> Path:
    try:
        text = config.read_bytes()
    except OSError as error:
        raise CannotStart(
            f"nats-server's configuration {config} is not there: {error.strerror}"
        ) from None
    copy = home / "nats-server.conf"
    copy.touch(mode=0o600)
    copy.write_bytes(_STORE_DIR.sub(b"", text))
    paths.give(copy)
    return copy


def _port(urls: Iterable[str]) -> int:
    return urlsplit(next(iter(urls))).port or 0
