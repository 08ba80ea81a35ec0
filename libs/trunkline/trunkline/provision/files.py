"""Write the configuration of NATS, a seed for each of its users and a password for each role."""

import os
import secrets
from pathlib import Path
from typing import Any

import nkeys

from trunkline.provision.grants import (
    MULTIPLE_RESPONSES,
    STREAMS,
    Grants,
    Import,
    accounts,
    imports,
)
from trunkline.provision.plan import Plan

MAX_MEMORY_STORE_BYTES = 64 * 1024 * 1024
MAX_INTEGRATOR_CONNECTIONS = 64
"""Limit for one integrator."""
RESPONSE_THRESHOLD = "10s"
"""How long the server keeps the reply route of a call with several responses. It must exceed the
lifetime of a batch request (`chassis.messaging.pull_consumer.EXPIRES`) and stay short, as each
route takes about 1 kB."""
STORE_MARGIN_BYTES = 256 * 1024 * 1024
"""Space beyond the streams: the server reserves the `max_bytes` of each and needs some more."""


def write_files(
    data: Path,
    plan: Plan,
    *,
    port: int = 4222,
    monitor_port: int = 8222,
    host: str = "127.0.0.1",
    store_dir: Path | None = None,
) -> Path:
    """Write `nats.conf` and `creds/`, keep existing secrets and return the path of `nats.conf`."""
    creds = data / "creds"
    creds.mkdir(mode=0o700, parents=True, exist_ok=True)
    for service in plan.services:
        _secret(creds / f"{service}.pg", secrets.token_urlsafe(24))
    keys = {
        user: _public_key(creds / f"{user}.nk")
        for user in [*(user for users in accounts(plan).values() for user in users), "sys"]
    }
    document = _configuration(plan, keys) | {
        "host": host,
        "port": port,
        "http": f"{host}:{monitor_port}",
        "jetstream": {
            "store_dir": str(store_dir or data / "nats"),
            "sync_interval": "always",
            "max_memory_store": MAX_MEMORY_STORE_BYTES,
            "max_file_store": sum(s.max_bytes for s in plan.streams.values()) + STORE_MARGIN_BYTES,
        },
    }
    config = data / "nats.conf"
    _replace(config, "".join(f"{k}: {render(v)}\n" for k, v in document.items()))
    return config


def _configuration(plan: Plan, keys: dict[str, str]) -> dict[str, Any]:
    users = accounts(plan)
    all_imports = list(imports(users))
    limited = {f"CUSTOM_{name}" for name in plan.integrators}
    return {
        "max_payload": 1024 * 1024,
        "max_connections": 1024,
        "write_deadline": "10s",
        "ping_interval": "20s",
        "ping_max": 2,
        "accounts": {
            "SYS": {"users": [{"nkey": keys["sys"]}]},
            **{
                name: _account(name, members, all_imports, keys, limited=name in limited)
                for name, members in users.items()
            },
        },
        "system_account": "SYS",
    }


def _account(
    name: str,
    members: dict[str, Grants],
    all_imports: list[Import],
    keys: dict[str, str],
    *,
    limited: bool,
) -> dict[str, Any]:
    """Return an account. It imports calls as services, so reply subjects stay within it."""
    account: dict[str, Any] = {"jetstream": "enabled"} if name == STREAMS else {}
    account["users"] = [_user(keys[user], grant) for user, grant in members.items()]
    exports: dict[tuple[str, str], list[str]] = {}
    for import_ in all_imports:
        if import_.exporter == name:
            exports.setdefault((import_.kind, import_.subject), []).append(import_.importer)
    if exports:
        account["exports"] = [_export(*key, importers) for key, importers in exports.items()]
    imports = [
        {import_.kind: {"account": import_.exporter, "subject": import_.subject}}
        for import_ in all_imports
        if import_.importer == name
    ]
    if imports:
        account["imports"] = imports
    if limited:
        account["limits"] = {
            "max_connections": MAX_INTEGRATOR_CONNECTIONS,
            "max_subscriptions": 10 * MAX_INTEGRATOR_CONNECTIONS,
        }
    return account


def _export(kind: str, subject: str, importers: list[str]) -> dict[str, Any]:
    export: dict[str, Any] = {kind: subject, "accounts": importers}
    if subject.startswith(MULTIPLE_RESPONSES):
        export |= {"response_type": "stream", "response_threshold": RESPONSE_THRESHOLD}
    return export


def _user(key: str, grant: Grants) -> dict[str, Any]:
    if grant.publish is None:
        return {"nkey": key}
    permissions = {"publish": {"allow": grant.publish}, "subscribe": {"allow": grant.subscribe}}
    return {"nkey": key, "permissions": permissions}


def render(value: Any, indent: int = 0) -> str:
    """Return a value in the configuration language of NATS."""
    pad = "  " * (indent + 1)
    match value:
        case dict():
            lines = [f"{pad}{key}: {render(item, indent + 1)}\n" for key, item in value.items()]
            return "{\n" + "".join(lines) + "  " * indent + "}"
        case list():
            lines = [f"{pad}{render(item, indent + 1)}\n" for item in value]
            return "[\n" + "".join(lines) + "  " * indent + "]"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case _:
            return str(value)


def _public_key(file: Path) -> str:
    seed = _secret(file, nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER).decode())
    key: str = nkeys.from_seed(seed.encode()).public_key.decode()
    return key


def _secret(file: Path, fresh: str) -> str:
    """Return the secret in a file; write `fresh` first if it does not exist, for the owner only."""
    if not file.exists():
        _replace(file, fresh)
    return file.read_text(encoding="ascii").strip()


def _replace(file: Path, text: str) -> None:
    """Write a file atomically, readable by its owner only."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)
