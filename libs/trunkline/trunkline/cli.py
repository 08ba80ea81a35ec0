"""The `trunkline` command: one function per sub-command; errors are printed as one line."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from trunkline.paths import CannotStart

Data = Annotated[Path, typer.Option(help="The data folder of the instance.")]
PortBase = Annotated[
    int, typer.Option(help="The first port of the instance; ingest listens on the next one.")
]
DEFAULT_DATA, DEFAULT_PORT_BASE = Path(".trunkline"), 8000


commands = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Event-sourced request processing: run an instance and inspect it.",
)


def app() -> None:
    """Run the command; print expected errors as one line instead of a traceback."""
    try:
        commands()
    except (CannotStart, PermissionError, NotADirectoryError) as reason:
        sys.exit(f"trunkline: {reason}")


@commands.command()
def up(
    data: Data = DEFAULT_DATA,
    port_base: PortBase = DEFAULT_PORT_BASE,
    detach: Annotated[  # noqa: FBT002
        bool, typer.Option("--detach", help="Return once it is ready.")
    ] = False,
    replicas: Annotated[
        list[str] | None, typer.Option(help="Replicas of a service, such as routing=2. Repeatable.")
    ] = None,
) -> None:
    """Start the servers, the services and the sink, and restart whatever exits."""
    from trunkline import up as running
    from trunkline.instance import Instance

    instance = Instance(data.absolute(), port_base)
    replicas_by_service = _replicas(replicas or [])
    if detach:
        arguments = [f"--replicas={name}={number}" for name, number in replicas_by_service.items()]
        running.detach(
            instance, [f"--data={instance.data}", f"--port-base={instance.base}", *arguments]
        )
        _print_status(running.status(instance.data), instance.data)
    else:
        running.up(
            instance,
            replicas_by_service,
            lambda: _print_status(running.status(instance.data), instance.data),
        )


def _replicas(options: list[str]) -> dict[str, int]:
    from trunkline.serving import SERVICES

    replicas_by_service = {}
    for option in options:
        name, _, number = option.partition("=")
        if name not in SERVICES or not number.isdecimal() or int(number) < 1:
            raise CannotStart(
                f"--replicas {option}: expected SERVICE=NUMBER, such as routing=2;"
                f" the services are {', '.join(SERVICES)}"
            )
        replicas_by_service[name] = int(number)
    return replicas_by_service


def _print_status(state: dict[str, Any], data: Path) -> None:
    parts = {service["name"]: service for service in state["services"]}
    parts |= {part: state[part] for part in ("nats", "postgres", "sink")}
    for name, part in parts.items():
        typer.echo(f"{name:12} {part['pid'] or '-':>8} {part.get('state', ''):9} {part['url']}")
        if "reason" in part:
            typer.echo(f"{'':12} {'':>8} {part['reason']}")
    typer.echo(f"{'secrets':12} {'':>8} {'':9} {data / 'secrets.env'}")


@commands.command()
def status(
    data: Data = DEFAULT_DATA,
    as_json: Annotated[bool, typer.Option("--json", help="JSON.")] = False,  # noqa: FBT002
) -> None:
    """Print the address, process id and state of every server and service."""
    from trunkline import up as running

    state = running.status(data.absolute())
    if as_json:
        typer.echo(json.dumps(state))
    else:
        _print_status(state, data)


@commands.command()
def down(data: Data = DEFAULT_DATA) -> None:
    """Stop the instance."""
    from trunkline import up as running

    typer.echo("stopped" if running.down(data.absolute()) else f"no instance runs in {data}")


@commands.command()
def serve(service: str, data: Data = DEFAULT_DATA) -> None:
    """Run one service, or the sink, in this process.

    If SERVICE_DATABASE_URL is not set, the settings of the instance in --data are used.
    """
    from trunkline.instance import SERVICE_PORTS, Instance, read_state
    from trunkline.serving import serve as run

    if service in SERVICE_PORTS and "SERVICE_DATABASE_URL" not in os.environ:
        base = read_state(data).get("base", DEFAULT_PORT_BASE)
        instance = Instance(data.absolute(), base)
        if not (instance.creds / f"{service}.pg").exists():
            raise CannotStart(
                f"SERVICE_DATABASE_URL is not set, and {instance.creds}"
                f" has no password for role {service}"
            )
        environment = instance.environment(service)
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        os.environ.setdefault("PORT", str(instance.port(SERVICE_PORTS[service])))
    run(service)


@commands.command()
def provision(
    data: Data = DEFAULT_DATA,
    port_base: PortBase = DEFAULT_PORT_BASE,
    files: Annotated[  # noqa: FBT002
        bool, typer.Option("--files", help="Only write files.")
    ] = False,
    listen: Annotated[
        str | None,
        typer.Option(help="With --files: the address a separate NATS server uses."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="With --files: the folder in which it stores streams."),
    ] = None,
) -> None:
    """Create or correct everything the provisioning file declares."""
    from trunkline import provisioning
    from trunkline.instance import Instance, read_state

    instance = Instance(data.absolute(), read_state(data).get("base", port_base))
    if files:
        workspace = asyncio.run(provisioning.workspace_in_force(instance))
        typer.echo(provisioning.write_files(instance, workspace, listen=listen, store=store))
        return
    changed = asyncio.run(provisioning.provision_servers(instance))
    typer.echo("\n".join(changed) or "nothing to change")


@commands.command()
def apply(file: Path, data: Data = DEFAULT_DATA) -> None:
    """Check a workspace file, print its changes and make it the next version."""
    from trunkline import configuration, provisioning
    from trunkline.instance import Instance

    instance = Instance.running(data)
    typer.echo(asyncio.run(configuration.apply(instance, configuration.read(file))))
    for line in asyncio.run(provisioning.apply_to_nats(instance)):
        typer.echo(line)


@commands.command()
def token(
    role: Annotated[list[str], typer.Option(help="A role; repeatable.")],
    subject: Annotated[str, typer.Option(help="The subject of the token (`sub`).")],
    ttl: Annotated[int, typer.Option(help="Lifetime in seconds, at most 12 hours.")] = 43200,
    data: Data = DEFAULT_DATA,
) -> None:
    """Print a token for the API."""
    from datetime import timedelta

    from chassis.auth.roles import Role
    from trunkline.tokens import Signer

    if unknown := [name for name in role if name not in list(Role)]:
        raise CannotStart(f"there is no role {unknown[0]!r}: it is one of {', '.join(Role)}")
    _require_key(data)
    try:
        typer.echo(Signer(data).token(subject, role, timedelta(seconds=ttl)))
    except ValueError as error:
        raise CannotStart(str(error)) from None


@commands.command()
def device_token(
    account: Annotated[str, typer.Option(help="The account of the API the app belongs to.")],
    contact: Annotated[str, typer.Option(help="The customer who owns the device.")],
    key: Annotated[str, typer.Option(help="The thumbprint of the device's key (RFC 7638).")],
    ttl: Annotated[int, typer.Option(help="Lifetime in seconds, at most 15 minutes.")] = 900,
    data: Data = DEFAULT_DATA,
) -> None:
    """Print a token for a customer's device, as the company's own server would issue it."""
    from datetime import timedelta

    from trunkline.tokens import Signer

    _require_key(data)
    try:
        lifetime = timedelta(seconds=ttl)
        typer.echo(Signer(data).device_token(account, contact, key, lifetime))
    except ValueError as error:
        raise CannotStart(str(error)) from None


def _require_key(data: Path) -> None:
    if not (data / "token.key").exists():
        raise CannotStart(f"{data} holds no key: run `trunkline up` or `provision --files` first")


@commands.command()
def audit(
    data: Data = DEFAULT_DATA,
    accept_lost: Annotated[
        int | None, typer.Option(min=0, help="Acknowledge this number of lost deliveries.")
    ] = None,
    reason: Annotated[
        str, typer.Option(help="With --accept-lost: the reason to record.")
    ] = "accepted with trunkline audit",
) -> None:
    """Print the balance of the ledger; exit with 1 if it does not balance."""
    from trunkline.audit import Balance, accept_losses
    from trunkline.instance import Instance

    instance = Instance.running(data.absolute())
    if accept_lost is not None:
        asyncio.run(accept_losses(instance, accept_lost, reason))
    balance = asyncio.run(Balance.load(instance))
    typer.echo(balance.text())
    if balance.faults:
        raise typer.Exit(1)


streams = typer.Typer(
    no_args_is_help=True, help="Reset, hold or release the domain streams of the instance."
)
commands.add_typer(streams, name="stream")


@streams.command()
def reset(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of domain streams, such as INGEST.")
    ] = None,
    is_all: Annotated[bool, typer.Option("--all", help="All domain streams.")] = False,  # noqa: FBT002
    data: Data = DEFAULT_DATA,
) -> None:
    """Recreate domain streams from PostgreSQL; save messages found nowhere else to a file."""
    from trunkline.instance import Instance
    from trunkline.stream_reset import choose_streams
    from trunkline.stream_reset import reset as run

    instance = Instance.running(data.absolute())
    chosen_streams = choose_streams(instance.plan, names or [], is_all=is_all)
    typer.echo("\n".join(asyncio.run(run(instance, chosen_streams))))


@streams.command()
def hold(data: Data = DEFAULT_DATA) -> None:
    """Stop all readers of the domain streams until the streams are reset or released."""
    _hold(data, release=False)


@streams.command()
def release(data: Data = DEFAULT_DATA) -> None:
    """Allow readers to continue on the domain streams as they are."""
    _hold(data, release=True)


def _hold(data: Path, *, release: bool) -> None:
    from trunkline.instance import Instance
    from trunkline.stream_reset import hold_all

    lines = asyncio.run(hold_all(Instance.running(data.absolute()), release=release))
    typer.echo("\n".join(lines) or "nothing to change")


@commands.command()
def tail(
    data: Data = DEFAULT_DATA,
    request: Annotated[
        list[str] | None, typer.Option(help="The id of a request, or its first digits. Repeatable.")
    ] = None,
    type: Annotated[
        list[str] | None,
        typer.Option(help="The name of a fact, or a pattern. Repeatable."),
    ] = None,
    stream: Annotated[
        list[str] | None, typer.Option(help="A domain stream; TICKETS by default. Repeatable.")
    ] = None,
    since: Annotated[str, typer.Option(help="A stream sequence, all or now.")] = "now",
    as_json: Annotated[  # noqa: FBT002
        bool, typer.Option("--json", help="Print stored JSON.")
    ] = False,
    count: Annotated[
        int | None, typer.Option(min=1, help="Exit after this number of facts.")
    ] = None,
) -> None:
    """Print facts as they are published: sequence, time, name and request, one per line."""
    from trunkline.filters import FactFilter
    from trunkline.instance import Instance
    from trunkline.tail import tail as follow

    fact_filter = FactFilter.parse(stream or [], type or [], request or [], since)
    follow(Instance.running(data.absolute()), fact_filter, as_json=as_json, count=count)


@commands.command()
def demo(
    seconds: Annotated[float, typer.Option(min=8, help="Duration of the demo in seconds.")] = 45,
    seed: Annotated[int, typer.Option(help="Seed of the generated day.")] = 1,
    keep: Annotated[  # noqa: FBT002
        bool, typer.Option("--keep", help="Keep the instance running.")
    ] = False,
) -> None:
    """Show a generated day on a separate instance; exit with 1 if the ledger does not balance."""
    from rich.console import Console

    from trunkline.demo.run import demo as show

    if not show(seconds, seed, keep=keep, console=Console()):
        raise typer.Exit(1)
