"""The whole matrix: every user × every subject and JetStream call, asked of a real server.

What the server lets through is what the plan declares, and the plan declares what the design says.
"""

import re
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

from trunkline import paths
from trunkline.provision import Plan, connect_as, write_files
from trunkline.provision.grants import Grants, grants
from trunkline.servers import Nats

STREAM_CALLS = [
    "CREATE",
    "UPDATE",
    "DELETE",
    "PURGE",
    "INFO",
    "MSG.GET",
    "MSG.DELETE",
    "SNAPSHOT",
    "RESTORE",
    "LEADER.STEPDOWN",
    "PEER.REMOVE",
]
CONSUMER_CALLS = [
    "CREATE",
    "DURABLE.CREATE",
    "DELETE",
    "INFO",
    "MSG.NEXT",
    "PAUSE",
    "RESET",
    "UNPIN",
    "LEADER.STEPDOWN",
]
REFUSED = re.compile(
    r'permissions violation for (?:publish|subscription) to "([^"]*)"', re.IGNORECASE
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Iterator[Nats]:
    """A server with the plan's users; what they may do does not depend on streams."""
    data = tmp_path_factory.mktemp("matrix")
    config = write_files(data, plan, port=-1, monitor_port=-1)
    with Nats(config, data / "nats") as nats:
        yield nats
    paths.remove(data / "nats")


@pytest.fixture(scope="module")
def declared(plan: Plan) -> dict[str, Grants]:
    """Everybody but the administrator, who may do everything."""
    return {name: grant for name, grant in grants(plan).items() if grant.publish is not None}


@asynccontextmanager
async def user(server: Nats, name: str) -> AsyncGenerator[tuple[Client, list[str]]]:
    """Connect as one user, and collect what the server refuses it."""
    refused: list[str] = []
    nc = await connect_as(name, server.url, Path(server.config).parent / "creds")

    async def heard(why: Exception) -> None:
        refused.extend(REFUSED.findall(str(why)))

    nc._error_cb = heard
    try:
        yield nc, refused
    finally:
        await nc.close()


async def settled(nc: Client) -> None:
    """Wait until the server has seen everything: a first ping overtakes what is unsent."""
    await nc.flush()
    await nc.flush()


def said(plan: Plan) -> list[str]:
    """One subject of every kind there is, and every JetStream call on every stream."""
    services, outsiders = [*plan.services], [*plan.subscribers, *plan.integrators]
    subjects = [f"trunkline.{name}.v1.opened.00.k" for name in services]
    subjects += [f"{verb}.{name}" for name in services for verb in ("wake", "replay")]
    subjects += [f"{verb}.{name}.r" for name in services for verb in ("redrive", "parked")]
    subjects += ["workspace.v", "inbound.custom.acme.00.k", "trunkline.x", "inbound", "anything"]
    subjects += [f"channels.custom.{name}" for name in [*plan.integrators, "other", "acme.more"]]
    subjects += [f"_INBOX_{name}.x" for name in [*plan.users, *outsiders]]
    subjects += ["_R_.x", "_INBOX.x", "$KV.x.y", "$O.x.C.y", "$SYS.REQ.SERVER.PING"]
    subjects += ["$SYS.REQ.ACCOUNT.APP.CONNZ", "$SYS.REQ.USER.INFO", "$SRV.PING"]
    subjects += [f"$JS.API.{call}" for call in ("INFO", "STREAM.NAMES", "STREAM.LIST", "META.X")]
    for stream in [*plan.streams, "OTHER"]:
        subjects += [f"$JS.API.STREAM.{call}.{stream}" for call in STREAM_CALLS]
        subjects += [f"$JS.API.CONSUMER.{call}.{stream}" for call in ("NAMES", "LIST", "CREATE")]
        ours = [each.name for each in plan.consumers() if each.stream == stream]
        for consumer in ["c", *plan.subscribers, *ours]:
            subjects += [f"$JS.API.CONSUMER.{call}.{stream}.{consumer}" for call in CONSUMER_CALLS]
            subjects += [f"$JS.API.CONSUMER.CREATE.{stream}.{consumer}.trunkline.>"]
            subjects += [f"$JS.ACK.{stream}.{consumer}.1.2.3.4.5", f"$JS.FC.{stream}.{consumer}.x"]
        subjects += [f"$JS.API.DIRECT.GET.{stream}", f"$JS.API.DIRECT.GET.{stream}.x"]
    return [subject.removesuffix(".>") for subject in subjects]


def heard(plan: Plan) -> list[tuple[str, str]]:
    """What one could listen to, and as one of which queue."""
    names = [*plan.users, *plan.subscribers, *plan.integrators]
    subjects = [f"_INBOX_{name}.>" for name in names]
    subjects += [f"{verb}.{name}" for name in plan.services for verb in ("wake", "replay")]
    subjects += [subject for stream in plan.streams.values() for subject in stream.subjects]
    subjects += [">", "*", "_INBOX.>", "_R_.>", "$JS.>", "$SYS.>", "$JS.API.>", "$JS.ACK.>"]
    subjects += ["channels.custom.*", "channels.custom.acme", "channels.>", "wake.*", "workspace.v"]
    queues = [("channels.custom.*", queue) for queue in ("ingest", "other")]
    return [(subject, "") for subject in subjects] + queues


def covers(patterns: Iterable[str], subject: str) -> bool:
    """Whether one of these subjects with wildcards covers another."""
    return any(_covers(pattern.split("."), subject.split(".")) for pattern in patterns)


def _covers(pattern: list[str], subject: list[str]) -> bool:
    for place, part in enumerate(pattern):
        if part == ">":
            return len(subject) > place
        if place >= len(subject) or part not in {"*", subject[place]}:
            return False
        if part == "*" and subject[place] == ">":
            return False
    return len(pattern) == len(subject)


async def says(server: Nats, name: str, subjects: list[str]) -> set[str]:
    """Give what the server lets a user publish."""
    async with user(server, name) as (nc, refused):
        for subject in subjects:
            await nc.publish(subject, b"probe")
        await settled(nc)
        denied = {each.lower() for each in refused}
    return {subject for subject in subjects if subject.lower() not in denied}


async def hears(server: Nats, name: str, subjects: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Give what the server lets a user subscribe to."""
    through = set()
    async with user(server, name) as (nc, refused):
        for subject, queue in subjects:
            await nc.subscribe(subject, queue)
            await settled(nc)
            if not refused:
                through.add((subject, queue))
            refused.clear()
    return through


async def test_everybody_may_say_what_is_declared_and_nothing_else(
    server: Nats, plan: Plan, declared: dict[str, Grants]
) -> None:
    subjects = said(plan)
    found = {name: await says(server, name, subjects) for name in declared}

    for name, grant in declared.items():
        expected = {s for s in subjects if covers(grant.publish or [], s)}
        assert found[name] == expected, name

    def who(subject: str) -> set[str]:
        return {name for name, through in found.items() if subject in through}

    for name, service in plan.services.items():
        assert who(f"trunkline.{name}.v1.opened.00.k") == {f"{name}-relay"}
        assert who(f"$JS.API.STREAM.PURGE.{service.stream}") == {f"{name}-relay"}
    assert who("inbound.custom.acme.00.k") == {"ingest"}
    assert who("workspace.v") == {"tickets-relay"}
    assert who("_R_.x") == {"ingest"}
    for stream in plan.streams:
        for call in {*STREAM_CALLS} - {"INFO", "MSG.GET", "PURGE"}:
            assert who(f"$JS.API.STREAM.{call}.{stream}") == set()
        for call in ("CREATE", "DURABLE.CREATE", "DELETE", "PAUSE", "UNPIN"):
            for consumer in plan.consumers():
                assert who(f"$JS.API.CONSUMER.{call}.{stream}.{consumer.name}") == set()
    for consumer in plan.consumers():
        for call in ("RESET", "INFO", "MSG.NEXT"):
            subject = f"$JS.API.CONSUMER.{call}.{consumer.stream}.{consumer.name}"
            assert who(subject) == {consumer.service}
    for name in plan.integrators:
        assert found[name] == {f"channels.custom.{name}"}
    for name, subscriber in plan.subscribers.items():
        for subject in found[name]:
            assert any(f".{stream}.{name}" in subject for stream in subscriber.streams), subject


async def test_everybody_may_hear_what_is_declared_and_nothing_else(
    server: Nats, plan: Plan, declared: dict[str, Grants]
) -> None:
    subjects = heard(plan)
    for name in declared:
        own = {(f"_INBOX_{name}.>", "")}
        service = name.removesuffix("-relay")
        if service in plan.services:
            own |= {(f"wake.{service}", "")}
            own |= {(f"replay.{service}" if name != service else "workspace.v", "")}
        own |= {("channels.custom.*", "ingest")} if name == "ingest" else set()

        assert await hears(server, name, subjects) == own, name


def test_integrator_has_no_jetstream_and_few_connections(server: Nats, plan: Plan) -> None:
    config = Path(server.config).read_text()

    for name in plan.integrators:
        account = config.split(f"CUSTOM_{name}: ")[1].split("\n  }")[0]
        assert "jetstream" not in account
        assert "max_connections: 64" in account
