"""What `provision --files` writes: NATS' configuration, a seed per user, a password per role.

Long: the configuration is written in one place.
"""

import os
import secrets
from pathlib import Path
from typing import Any

import nkeys

from trunkline.provision.grants import SEVERAL, STREAMS, Crossing, Grants, accounts, crossings
from trunkline.provision.plan import Plan

MEMORY = 64 * 1024 * 1024
CONNECTIONS = 64
"""How many one integrator may have."""
RESPONSE_THRESHOLD = "10s"
"""How long the server keeps the way back for a call answered with several messages: longer than a
request for a batch lives (`chassis.messaging.pull_consumer.REQUEST_EXPIRES_S`), for each of them
takes about a kilobyte."""
SPARE = 256 * 1024 * 1024
"""Room beside the streams: the server reserves each one's `max_bytes` and needs a little more."""


def write_files(
    data: Path,
    plan: Plan,
    *,
    port: int = 4222,
    monitor_port: int = 8222,
    host: str = "127.0.0.1",
    store_dir: Path | None = None,
) -> Path:
    """Write `nats.conf`, whose path it gives, and `creds/`; secrets that exist already are kept."""
    creds = data / "creds"
    creds.mkdir(mode=0o700, parents=True, exist_ok=True)
    for service in plan.services:
        _secret(creds / f"{service}.pg", secrets.token_urlsafe(24))
    keys = {
        user: _public(creds / f"{user}.nk")
        for user in [*(user for users in accounts(plan).values() for user in users), "sys"]
    }
    document = _configuration(plan, keys) | {
        "host": host,
        "port": port,
        "http": f"{host}:{monitor_port}",
        "jetstream": {
            "store_dir": str(store_dir or data / "nats"),
            "sync_interval": "always",
            "max_memory_store": MEMORY,
            "max_file_store": sum(s.max_bytes for s in plan.streams.values()) + SPARE,
        },
    }
    config = data / "nats.conf"
    _replace(config, "".join(f"{k}: {render(v)}\n" for k, v in document.items()))
    return config


def _configuration(plan: Plan, keys: dict[str, str]) -> dict[str, Any]:
    users = accounts(plan)
    crossed = list(crossings(users))
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
                name: _account(name, members, crossed, keys, limited=name in limited)
                for name, members in users.items()
            },
        },
        "system_account": "SYS",
    }


def _account(
    name: str,
    members: dict[str, Grants],
    crossed: list[Crossing],
    keys: dict[str, str],
    *,
    limited: bool,
) -> dict[str, Any]:
    """Write an account. What it imports are services: a reply subject stays within it."""
    account: dict[str, Any] = {"jetstream": "enabled"} if name == STREAMS else {}
    account["users"] = [_user(keys[user], grant) for user, grant in members.items()]
    exports: dict[tuple[str, str], list[str]] = {}
    for each in crossed:
        if each.exporter == name:
            exports.setdefault((each.kind, each.subject), []).append(each.importer)
    if exports:
        account["exports"] = [_export(*key, importers) for key, importers in exports.items()]
    imports = [
        {each.kind: {"account": each.exporter, "subject": each.subject}}
        for each in crossed
        if each.importer == name
    ]
    if imports:
        account["imports"] = imports
    if limited:
        account["limits"] = {
            "max_connections": CONNECTIONS,
            "max_subscriptions": 10 * CONNECTIONS,
        }
    return account


def _export(kind: str, subject: str, importers: list[str]) -> dict[str, Any]:
    export: dict[str, Any] = {kind: subject, "accounts": importers}
    if subject.startswith(SEVERAL):
        export |= {"response_type": "stream", "response_threshold": RESPONSE_THRESHOLD}
    return export


def _user(key: str, grant: Grants) -> dict[str, Any]:
    if grant.publish is None:
        return {"nkey": key}
    permissions = {"publish": {"allow": grant.publish}, "subscribe": {"allow": grant.subscribe}}
    return {"nkey": key, "permissions": permissions}


def render(value: Any, indent: int = 0) -> str:
    """Write a value in the server's own configuration language."""
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


def _public(file: Path) -> str:
    seed = _secret(file, nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER).decode())
    key: str = nkeys.from_seed(seed.encode()).public_key.decode()
    return key


def _secret(file: Path, fresh: str) -> str:
    """Give the secret in a file; the first call decides it, and only its owner may read it."""
    if not file.exists():
        _replace(file, fresh)
    return file.read_text(encoding="ascii").strip()


def _replace(file: Path, text: str) -> None:
    """Write a whole file or nothing, readable by its owner only."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)
