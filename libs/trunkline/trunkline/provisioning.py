"""Provision an instance: configuration files, then roles, schemas and streams.

The users of NATS are part of its configuration and depend on the workspace: a new integrator or
subscriber is added there, and the instance's own server reloads it without closing connections.
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

RELOAD_COMMAND = "nats-server --signal reload"
"""To be run twice: imports of a new account take effect only once the account exists."""


def write_files(
    instance: Instance,
    workspace: Workspace | None = None,
    *,
    listen: str | None = None,
    store: Path | None = None,
) -> Path:
    """Write the configuration of NATS and all secrets; return the path of `nats.conf`.

    Existing secrets are kept. Without a workspace, the last one used here counts, or else the
    example. `listen` is the address of a separate NATS server, which uses the standard ports.
    """
    instance.signer  # noqa: B018  creates the key
    instance.password  # noqa: B018  creates the password
    instance.make_secrets()
    workspace = workspace or _last_workspace(instance)
    config = provision.write_files(
        instance.data,
        provision.plan_for(instance.plan, workspace),
        host=listen or "127.0.0.1",
        port=4222 if listen else instance.port(NATS),
        monitor_port=8222 if listen else instance.port(NATS_MONITOR),
        store_dir=store,
    )
    write_private(_workspace_copy(instance), json.dumps(workspace.document(), ensure_ascii=False))
    return config


def _workspace_copy(instance: Instance) -> Path:
    return instance.data / "workspace.json"


def _last_workspace(instance: Instance) -> Workspace:
    try:
        return reading.parse(json.loads(_workspace_copy(instance).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return reading.load(EXAMPLE.read_text(encoding="utf-8"))


async def workspace_in_force(instance: Instance) -> Workspace | None:
    """Return the workspace in force; None if there is none yet or NATS does not answer."""
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
    """Return the folder with the seeds of the NATS users."""
    return Path(os.environ.get("NATS_CREDS_DIR") or instance.creds)


async def provision_servers(
    instance: Instance, reload_nats: Callable[[], None] | None = None, *, release: bool = False
) -> list[str]:
    """Create or correct users, roles, schemas, tables and streams; return a line per change.

    All domain streams are held if one is ahead of its outbox; with `release`, they are released
    if none is. Raises `CannotStart` for unsafe servers and for failures.
    """
    try:
        await check_nats(instance.monitor_url)
        await check_postgres(instance.database_url)
    except (UnsafeServer, OSError) as error:
        raise CannotStart(str(error)) from None
    lines = update_users(instance, await workspace_in_force(instance), reload_nats)
    try:
        changed = await provision.provision(
            instance.database_url, instance.nats_url, credentials(instance), instance.plan
        )
        held = await hold_when_ahead(instance, credentials(instance), release=release)
        return lines + changed + [f"{stream} is {state}" for stream, state in held.items()]
    except (OSError, psycopg.Error, nats.errors.Error, RuntimeError) as error:
        raise CannotStart(f"provisioning failed: {error}") from error


async def apply_to_nats(
    instance: Instance, reload_nats: Callable[[], None] | None = None
) -> list[str]:
    """Create the users, accounts and subscribers' durables of a newly applied workspace in NATS."""
    workspace = await workspace_in_force(instance)
    lines = update_users(instance, workspace, reload_nats)
    plan = provision.plan_for(instance.plan, workspace)
    client = await provision.connect_as("admin", instance.nats_url, credentials(instance))
    try:
        js = client.jetstream(timeout=10)
        for name, subscriber in plan.subscribers.items():
            await provision.make_durables(js, name, subscriber)
    except (JetStreamError, nats.errors.Error) as error:
        raise CannotStart(f"NATS refuses the durable of a subscriber: {error}") from error
    finally:
        await client.close()
    return lines


def update_users(
    instance: Instance, workspace: Workspace | None, reload_nats: Callable[[], None] | None = None
) -> list[str]:
    """Admit exactly the NATS users a workspace declares; return new users, or commands to run."""
    if workspace is None:
        return []
    creds = credentials(instance)
    new = [
        name for name in _external_users(instance, workspace) if not (creds / f"{name}.nk").exists()
    ]
    if os.environ.get("NATS_URL"):
        commands = f"run `trunkline provision --files`, then `{RELOAD_COMMAND}` twice"
        return [f"{name} may not connect to NATS yet: {commands}" for name in new]
    config = instance.data / "nats.conf"
    before = config.read_text(encoding="utf-8") if config.exists() else ""
    if write_files(instance, workspace).read_text(encoding="utf-8") != before:
        (reload_nats or (lambda: _reload(instance)))()
    return [f"{name} may connect to NATS with {creds / f'{name}.nk'}" for name in new]


def _external_users(instance: Instance, workspace: Workspace) -> list[str]:
    plan: Plan = provision.plan_for(instance.plan, workspace)
    return [*plan.subscribers, *plan.integrators]


def _reload(instance: Instance) -> None:
    pid = read_state(instance.data).get("nats", {}).get("pid")
    if isinstance(pid, int) and instance.monitor_url:
        reload(instance.data / "nats.conf", instance.data / "nats", pid, instance.monitor_url)
