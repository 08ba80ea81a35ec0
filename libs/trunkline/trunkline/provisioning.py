"""What an instance's servers are told: files, then roles, schemas and streams; users as they come.

Who may connect to NATS stands in its configuration and depends on the workspace: a new integrator
or subscriber is written into it, and our own server reads it again without anybody noticing.
Long: files, servers and users are provisioned together.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import nats.errors
import psycopg
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from chassis.configuration import publishing
from chassis.postgres.durability_checks import UnsafeServer, check_nats, check_postgres
from trunkline import provision
from trunkline.holding import hold_when_ahead
from trunkline.instance import EXAMPLE, NATS, NATS_MONITOR, Instance, read_state
from trunkline.paths import CannotStart
from trunkline.provision import Plan
from trunkline.servers import reload
from trunkline.tokens import write_private
from trunkline_workspace import reading
from trunkline_workspace.document import Workspace

RELOAD = "nats-server --signal reload"
"""Twice: what an account that is new imports is joined only when it is known already."""


def write_files(
    instance: Instance,
    declared: Workspace | None = None,
    *,
    listen: str | None = None,
    store: Path | None = None,
) -> Path:
    """Write the servers' configuration and everybody's secrets; what exists is kept.

    Without a workspace it is the one that was known last, or else the example. `listen` is for a
    server of its own: at that address, on NATS' usual ports.
    """
    instance.signer  # noqa: B018  makes the key
    instance.password  # noqa: B018  the administrator's, likewise
    instance.make_secrets()
    declared = declared or _known(instance)
    config = provision.write_files(
        instance.data,
        provision.plan_for(instance.plan, declared),
        host=listen or "127.0.0.1",
        port=4222 if listen else instance.port(NATS),
        monitor_port=8222 if listen else instance.port(NATS_MONITOR),
        store_dir=store,
    )
    write_private(_remembered(instance), json.dumps(declared.document(), ensure_ascii=False))
    return config


def _remembered(instance: Instance) -> Path:
    return instance.data / "workspace.json"


def _known(instance: Instance) -> Workspace:
    try:
        return reading.parse(json.loads(_remembered(instance).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return reading.load(EXAMPLE.read_text(encoding="utf-8"))


async def in_force(instance: Instance) -> Workspace | None:
    """Ask NATS for the workspace in force; None when there is none yet, or nobody to ask."""
    try:
        client = await provision.connect_as("admin", instance.nats_url, credentials(instance))
    except (OSError, nats.errors.Error):
        return None
    try:
        return (await publishing.newest(client.jetstream(timeout=10)))[1]
    except NotFoundError:
        return None
    finally:
        await client.close()


def credentials(instance: Instance) -> Path:
    """Return the folder of the NATS users' seeds."""
    return Path(os.environ.get("NATS_CREDS_DIR") or instance.creds)


async def provision_servers(
    instance: Instance, tell_nats: Callable[[], None] | None = None, *, release: bool = False
) -> list[str]:
    """Create or correct users, roles, schemas, tables and streams; says what had to be changed.

    Streams are held when one is ahead of its outbox; `release` them when none is any more.
    """
    try:
        await check_nats(instance.monitor_url)
        await check_postgres(instance.database_url)
    except (UnsafeServer, OSError) as refused:
        raise CannotStart(str(refused)) from None
    admitted = admit(instance, await in_force(instance), tell_nats)
    try:
        changed = await provision.provision(
            instance.database_url, instance.nats_url, credentials(instance), instance.plan
        )
        held = await hold_when_ahead(instance, credentials(instance), release=release)
        return admitted + changed + [f"{stream} is {done}" for stream, done in held.items()]
    except (OSError, psycopg.Error, nats.errors.Error, RuntimeError) as error:
        raise CannotStart(f"provisioning failed: {error}") from error


async def follow(instance: Instance, tell_nats: Callable[[], None] | None = None) -> list[str]:
    """Do what a workspace just applied asks of NATS: users, accounts, subscribers' durables."""
    declared = await in_force(instance)
    admitted = admit(instance, declared, tell_nats)
    plan = provision.plan_for(instance.plan, declared)
    client = await provision.connect_as("admin", instance.nats_url, credentials(instance))
    try:
        js = client.jetstream(timeout=10)
        for name, subscriber in plan.subscribers.items():
            await provision.make_durables(js, name, subscriber)
    except (JetStreamError, nats.errors.Error) as error:
        raise CannotStart(f"NATS does not make a subscriber's durable: {error}") from error
    finally:
        await client.close()
    return admitted


def admit(
    instance: Instance, declared: Workspace | None, tell_nats: Callable[[], None] | None = None
) -> list[str]:
    """Let in whom a workspace declares, and nobody it does not; says who is new, or what to run."""
    if declared is None:
        return []
    creds = credentials(instance)
    new = [name for name in _outsiders(instance, declared) if not (creds / f"{name}.nk").exists()]
    if os.environ.get("NATS_URL"):
        todo = f"run `trunkline provision --files`, then `{RELOAD}` twice"
        return [f"{name} may not connect to NATS yet: {todo}" for name in new]
    config = instance.data / "nats.conf"
    before = config.read_text(encoding="utf-8") if config.exists() else ""
    if write_files(instance, declared).read_text(encoding="utf-8") != before:
        (tell_nats or (lambda: _tell(instance)))()
    return [f"{name} may connect to NATS with {creds / f'{name}.nk'}" for name in new]


def _outsiders(instance: Instance, declared: Workspace) -> list[str]:
    plan: Plan = provision.plan_for(instance.plan, declared)
    return [*plan.subscribers, *plan.integrators]


def _tell(instance: Instance) -> None:
    pid = read_state(instance.data).get("nats", {}).get("pid")
    if isinstance(pid, int) and instance.monitor_url:
        reload(instance.data / "nats.conf", instance.data / "nats", pid, instance.monitor_url)
