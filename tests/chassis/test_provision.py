"""What is declared is made, drift is corrected, and nobody has a right too many."""

import asyncio
import json
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psycopg
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig
from provisioned import Provisioned
from pydantic import ValidationError

from trunkline.provision import Plan, connect_as, provision_streams, write_files
from trunkline.provision.files import render
from trunkline.provision.grants import grants

SERVICES = ["ingest", "tickets", "routing", "sla", "notify"]


@asynccontextmanager
async def user(here: Provisioned, name: str) -> AsyncGenerator[tuple[Client, list[str]]]:
    """Connect as one user, and collect what the server refuses it."""
    refusals: list[str] = []
    nc = await connect_as(name, here.nats.url, here.creds)

    async def refused(why: Exception) -> None:
        refusals.append(str(why))

    nc._error_cb = refused  # provisioning, which connects so, has no use for one
    try:
        yield nc, refusals
    finally:
        await nc.close()


async def settled(nc: Client) -> None:
    """Wait until the server has seen everything: a first ping overtakes what is unsent."""
    await nc.flush()
    await nc.flush()


async def getting_through(
    here: Provisioned, nc: Client, subjects: list[str], marker: str
) -> list[str]:
    """Publish to all, and to one that is allowed; give what the administrator hears until that."""
    async with user(here, "admin") as (admin, _):
        heard = await admin.subscribe(">")
        await settled(admin)
        for subject in [*subjects, marker]:
            await nc.publish(subject, b"probe")
        await settled(nc)
        through: list[str] = []
        while (message := await heard.next_msg(timeout=5)).subject != marker:
            if message.data == b"probe":
                through.append(message.subject)
    return through


async def test_a_second_time_changes_nothing(provisioned: Provisioned) -> None:
    assert await provisioned.provisioned() == []


async def test_several_at_once_do_not_disturb_each_other(provisioned: Provisioned) -> None:
    assert await asyncio.gather(*(provisioned.provisioned() for _ in range(3))) == [[], [], []]


async def test_streams_are_as_declared(provisioned: Provisioned) -> None:
    async with user(provisioned, "admin") as (nc, _):
        js = nc.jetstream()
        found = {s.config.name: s.config for s in await js.streams_info()}

    assert set(found) == set(provisioned.plan.streams)
    for name, config in found.items():
        assert config.storage == "file"
        assert config.retention == "limits"
        assert config.discard == "new"
        assert config.max_bytes == int(provisioned.plan.streams[name].max_bytes)
        assert config.deny_delete is (name != "INBOUND")
        assert config.allow_atomic
        assert config.max_consumers == 256
        assert not config.allow_rollup_hdrs
        assert not config.allow_msg_ttl
        assert not config.allow_msg_schedules
    assert found["INBOUND"].max_age == 30 * 86400


async def test_a_stream_somebody_changed_is_corrected(provisioned: Provisioned) -> None:
    async with user(provisioned, "admin") as (nc, _):
        js = nc.jetstream()
        config = (await js.stream_info("SLA")).config
        await js.update_stream(
            config.evolve(max_bytes=1024 * 1024, discard="old", allow_direct=False)
        )
        changed = await provisioned.provisioned()
        after = (await js.stream_info("SLA")).config

    assert changed == ["SLA"]
    assert (after.max_bytes, after.discard, after.allow_direct) == (config.max_bytes, "new", True)


async def test_the_server_syncs_always_and_the_secrets_are_ours_alone(
    provisioned: Provisioned,
) -> None:
    again = write_files(provisioned.data, provisioned.plan, port=-1, monitor_port=-1)
    seeds = sorted(provisioned.creds.glob("*.nk"))

    assert 'sync_interval: "always"' in again.read_text()
    users = {*grants(provisioned.plan), "sys"}
    assert {file.stem for file in seeds} == users
    for file in [*seeds, *provisioned.creds.glob("*.pg"), again]:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with user(provisioned, "admin") as (nc, _):
        assert nc.is_connected


async def test_a_stranger_cannot_enter(provisioned: Provisioned) -> None:
    # By hand: the client leaves its socket open when it is refused.
    reader, writer = await asyncio.open_connection("127.0.0.1", provisioned.nats.port)
    writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
    said = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()

    assert b"Authorization Violation" in said
    assert b"PONG" not in said


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_may_say_nothing_in_anybodys_stream(
    provisioned: Provisioned, name: str
) -> None:
    foreign = [f"trunkline.{each}.v1.opened.00.x" for each in SERVICES]
    foreign += ["redrive.sla.x", "workspace.v", "parked.other.x"]
    foreign += [
        f"$JS.API.STREAM.{deed}.TICKETS" for deed in ("DELETE", "PURGE", "UPDATE", "CREATE")
    ]
    foreign += ["$JS.API.CONSUMER.DURABLE.CREATE.TICKETS.x", "$JS.API.STREAM.MSG.DELETE.TICKETS"]
    foreign += [] if name == "ingest" else ["inbound.telegram.main.00.x"]
    unread = set(provisioned.plan.streams) - set(provisioned.plan.services[name].reads)
    unread -= {"REDRIVE", "WORKSPACE"}
    foreign += [f"$JS.API.STREAM.INFO.{stream}" for stream in unread]
    foreign += [f"$JS.API.CONSUMER.CREATE.{stream}" for stream in provisioned.plan.streams]
    async with user(provisioned, name) as (nc, refusals):
        marker = f"$JS.API.STREAM.INFO.{provisioned.plan.services[name].reads[0]}"
        allowed = await getting_through(provisioned, nc, foreign, marker)
        refusals.clear()
        for subject in ("trunkline.>", "_INBOX.>", "inbound.>", "_INBOX_admin.>"):
            await nc.subscribe(subject)
        await settled(nc)

        assert allowed == []
        assert len(refusals) == 4


@pytest.mark.parametrize("name", SERVICES)
async def test_a_relay_speaks_for_its_own_service_only(provisioned: Provisioned, name: str) -> None:
    foreign = [f"trunkline.{each}.v1.opened.00.x" for each in SERVICES if each != name]
    foreign += ["inbound.telegram.main.00.x", "parked.sla.x", "$JS.API.CONSUMER.CREATE.TICKETS"]
    foreign += [f"$JS.API.STREAM.PURGE.{each.upper()}" for each in SERVICES if each != name]
    foreign += [] if name == "tickets" else ["workspace.v"]
    async with user(provisioned, f"{name}-relay") as (nc, _):
        marker = f"$JS.API.STREAM.INFO.{name.upper()}"
        allowed = await getting_through(provisioned, nc, foreign, marker)
        ack = await nc.jetstream().publish(f"trunkline.{name}.v1.test.00.x", b"{}", timeout=5)
        last = await nc.jetstream().get_msg(name.upper(), seq=ack.seq)
        await nc.jetstream().purge_stream(name.upper())

        assert allowed == []
        assert last.data == b"{}"


async def test_a_service_reads_what_it_should(provisioned: Provisioned) -> None:
    async with (
        user(provisioned, "tickets-relay") as (relay, _),
        user(provisioned, "sla") as (nc, refusals),
    ):
        ack = await relay.jetstream().publish("trunkline.tickets.v1.opened.07.k", b"{}", timeout=5)
        reset = "$JS.API.CONSUMER.RESET.TICKETS.sla-tickets-00-15"
        told = json.loads((await nc.request(reset, b'{"seq":%d}' % ack.seq, timeout=5)).data)
        inbox = nc.new_inbox()
        arriving = await nc.subscribe(inbox)
        ask = "$JS.API.CONSUMER.MSG.NEXT.TICKETS.sla-tickets-00-15"
        await nc.publish(ask, b'{"batch":1,"expires":2000000000}', reply=inbox)
        heard = await arriving.next_msg(timeout=5)
        state = await nc.jetstream(timeout=5).consumer_info("TICKETS", "sla-tickets-00-15")
        await settled(nc)

        assert told["reset_seq"] == ack.seq
        assert heard.subject == "trunkline.tickets.v1.opened.07.k"
        assert (state.num_pending, state.delivered.consumer_seq) == (0, 1)
        assert refusals == []


async def test_only_declared_consumers_exist(provisioned: Provisioned) -> None:
    plan = provisioned.plan
    declared = {(each.stream, each.name) for each in plan.consumers()} | {("TICKETS", "crm")}
    other = Plan.model_validate(plan.model_dump() | {"readers": {"sla": 2}})

    async def found(js: JetStreamContext) -> set[tuple[str, str]]:
        return {(s, c.name) for s in plan.streams for c in await js.consumers_info(s)}

    async with user(provisioned, "admin") as (nc, _):
        js = nc.jetstream()
        before = await found(js)
        await js.add_consumer("TICKETS", ConsumerConfig(name="x", deliver_subject="workspace.v"))
        await js.delete_consumer("SLA", "tickets-sla-00-15")
        changed = await provision_streams(js, plan)
        after = await found(js)
        await provision_streams(js, other)
        regrouped = await found(js)
        await js.delete_consumer("TICKETS", "sla-tickets-00-07")
        await js.add_consumer(
            "TICKETS", ConsumerConfig(name="sla-tickets-00-07", deliver_subject="workspace.v")
        )
        await provision_streams(js, other)
        mended = (await js.consumer_info("TICKETS", "sla-tickets-00-07")).config
        metadata = (await js.stream_info("TICKETS")).config.metadata or {}
        await provision_streams(js, plan)

    assert before == after == declared
    assert changed == ["TICKETS/x", "SLA/tickets-sla-00-15"]
    assert regrouped - declared == {
        (stream, f"sla-{stream.lower()}-{slots}")
        for stream in ("TICKETS", "ROUTING")
        for slots in ("00-07", "08-15")
    }
    assert (mended.deliver_subject, mended.ack_policy) == (None, "none")
    assert (metadata["trunkline.readers.sla"], metadata["trunkline.readers.notify"]) == ("2", "1")


async def test_durables_stay_while_the_workspace_is_unknown(
    provisioned: Provisioned,
) -> None:
    alone = Plan.model_validate(provisioned.plan.model_dump() | {"subscribers": {}})
    async with user(provisioned, "admin") as (nc, _):
        js = nc.jetstream()
        await provision_streams(js, alone, keep_unknown=True)
        kept = {each.name for each in await js.consumers_info("TICKETS")}
        await provision_streams(js, alone)
        gone = {each.name for each in await js.consumers_info("TICKETS")}
        await provision_streams(js, provisioned.plan)

    assert kept - gone == {"crm"}


async def test_a_subscriber_pulls_its_own_durable_and_nothing_else(
    provisioned: Provisioned,
) -> None:
    async with (
        user(provisioned, "tickets-relay") as (relay, _),
        user(provisioned, "crm") as (nc, _),
    ):
        await relay.jetstream().publish("trunkline.tickets.v1.opened.07.mine", b"{}", timeout=5)
        sub = await nc.jetstream(timeout=5).pull_subscribe_bind(
            "crm", "TICKETS", inbox_prefix=b"_INBOX_crm."
        )
        heard = [m.subject for m in await sub.fetch(10, timeout=2)]
        foreign = ["trunkline.tickets.v1.opened.00.x", "$JS.API.CONSUMER.MSG.NEXT.TICKETS.other"]
        foreign += ["$JS.API.CONSUMER.CREATE.TICKETS", "$JS.API.STREAM.INFO.TICKETS"]
        marker = "$JS.API.CONSUMER.INFO.TICKETS.crm"
        allowed = await getting_through(provisioned, nc, foreign, marker)

        assert "trunkline.tickets.v1.opened.07.mine" in heard
        assert allowed == []


@pytest.mark.parametrize("name", SERVICES)
async def test_a_role_sees_its_own_schema_only(provisioned: Provisioned, name: str) -> None:
    tables = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname = ANY(%s)"
    async with await psycopg.AsyncConnection.connect(provisioned.postgres.url) as admin:
        others = [s for s in SERVICES if s != name]
        foreign = [t for (t,) in await (await admin.execute(tables, (others,))).fetchall()]
    async with await psycopg.AsyncConnection.connect(
        provisioned.dsn(name), autocommit=True
    ) as conn:
        await conn.execute("SELECT * FROM reader_position")
        for table in foreign:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await conn.execute(f"SELECT 1 FROM {table}".encode())
        for deed in (f"CREATE TABLE {name}.own (x int)", "CREATE TABLE public.own (x int)"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await conn.execute(deed.encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await conn.execute(f"SET ROLE {name}_owner".encode())

    assert len(foreign) > 4 * 5


async def test_a_role_is_limited(provisioned: Provisioned) -> None:
    async with await psycopg.AsyncConnection.connect(provisioned.dsn("sla")) as conn:
        settings = "statement_timeout lock_timeout idle_in_transaction_session_timeout"
        settings += " search_path TimeZone"
        shown = [
            (await (await conn.execute(f"SHOW {s}".encode())).fetchone() or [""])[0]
            for s in settings.split()
        ]
        stored = await conn.execute(
            "SELECT rolconnlimit, rolsuper FROM pg_roles WHERE rolname = 'sla'"
        )
        secret = (provisioned.creds / "sla.pg").read_text()

        assert shown == ["10s", "5s", "10s", "sla", "UTC"]
        assert await stored.fetchone() == (60, False)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(provisioned.dsn("sla").replace(secret, "wrong"))


async def test_the_file_is_checked(plan: Plan) -> None:
    whole = plan.model_dump()
    for change, complaint in [
        ({"readers": {"nobody": 2}}, "readers.nobody"),
        ({"readers": {"sla": 3}}, "3 groups: allowed are 1, 2, 4, 8, 16"),
        ({"subscribers": {"sla-tickets-00-15": {"streams": ["TICKETS"]}}}, "a reader's consumer"),
        ({"subscribers": {"crm": {"streams": ["NONE"]}}}, "NONE"),
        ({"subscribers": {"sla": {"streams": ["TICKETS"]}}}, "subscribers.sla"),
        ({"integrators": ["crm"]}, "integrators.crm"),
        ({"integrators": ["sla-relay"]}, "integrators.sla-relay"),
        ({"integrators": ["a.b"]}, "integrators.0"),
        ({"more": 1}, "more"),
    ]:
        with pytest.raises(ValidationError, match=complaint):
            Plan.model_validate({**whole, **change})


async def test_the_administrator_alone_may_do_everything(plan: Plan) -> None:
    free = [name for name, grant in grants(plan).items() if grant.publish is None]
    everything = [
        n for n, g in grants(plan).items() if ">" in (g.publish or []) + (g.subscribe or [])
    ]

    assert free == ["admin"]
    assert everything == []
    assert render({"a": ['"', "\\"]}) == '{\n  a: [\n    "\\""\n    "\\\\"\n  ]\n}'
