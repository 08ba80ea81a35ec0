"""A workspace is valid or refused with every problem; its versions reach every replica."""

import asyncio
import doctest
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from ruamel.yaml import YAML
from world import EXAMPLE, World, the_plan

from chassis.configuration.following import Workspaces
from chassis.configuration.publishing import Conflict, apply, newest, publish
from chassis.errors import NotReady
from chassis.messaging.connections import NatsConnection
from chassis.postgres.pool import Database
from trunkline.provision import plan_for, provision
from trunkline_workspace import values
from trunkline_workspace.reading import InvalidWorkspace, diff, load, parse

TEXT = EXAMPLE.read_text(encoding="utf-8")
RAW = json.dumps(YAML(typ="safe", pure=True).load(TEXT))


def changed(*path: str | int, to: Any) -> str:
    """Return the example with one value set; missing sections on the path are added."""
    document = json.loads(RAW)
    place = document
    for key in path[:-1]:
        place = place.setdefault(key, {}) if isinstance(place, dict) else place[key]
    place[path[-1]] = to
    return json.dumps(document)


def without(*path: str) -> str:
    document = json.loads(RAW)
    place = document
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return json.dumps(document)


def refused(text: str) -> list[str]:
    with pytest.raises(InvalidWorkspace) as why:
        load(text)
    return why.value.problems


def test_example_survives_a_round_trip() -> None:
    example = load(TEXT)

    assert parse(example.document()) == example
    assert load(json.dumps(example.document())) == example
    assert diff(example, parse(example.document())) == []


def test_example_has_the_values_services_read() -> None:
    w = load(TEXT)

    assert w.group_of("billing") == "finance"
    assert w.group_of("unknown") == w.group_of(None) == "first-line"
    assert (w.types["ticket"].initial, w.types["ticket"].closing) == ("new", ["closed"])
    assert w.types["ticket"].statuses["open"] == ["in_progress", "resolved"]
    assert w.calendars["always"].hours() == dict.fromkeys(range(7), ((0, 1440),))
    assert w.calendars["office"].hours()[4] == ((540, 780), (840, 1080))
    assert w.sla[0].targets["FRT"] == timedelta(minutes=15)
    assert w.retention.inbound == timedelta(days=30)
    telegram = w.account("telegram", "main")
    assert telegram is not None
    assert telegram.api_base == "sink"
    assert w.account("telegram", "other") is None
    real = load(changed("channels", "viber", "main", to={"token": "env:X"})).account(
        "viber", "main"
    )
    assert real is not None
    assert real.api_base.startswith("https://")


WRONG: list[tuple[str, str, str]] = [
    (changed("nonsense", to=1), "nonsense", "allowed: calendars, channels, defaults"),
    (changed("sla", 0, "calender", to="x"), "sla.0.calender", "allowed: calendar, match"),
    (changed("channels", "form", "main", "url_", to="x"), "main.url_", "allowed: origins, secret"),
    (changed("topics", "general", "grup", to="x"), "topics.general.grup", "fields, group"),
    (without("topics"), "topics", "is missing"),
    (changed("timezone", to="Europe/Nowhere"), "timezone", "Europe/Nowhere"),
    (changed("priorities", "low", to=-1), "priorities.low", "-1"),
    (changed("defaults", "priority", to="urgent"), "defaults.priority", "low, medium"),
    (changed("defaults", "topic", to="weather"), "defaults.topic", "weather"),
    (changed("topics", "general", "retired", to=True), "defaults.topic", "general"),
    (changed("types", "chat", "closing", to=["gone"]), "types.chat.closing", "gone"),
    (changed("types", "chat", "statuses", "open", to=["lost"]), "types.chat.statuses.open", "lost"),
    (changed("types", "ticket", "statuses", "resolved", to=["open"]), "types.ticket", "in a cycle"),
    (
        changed("types", "task", "statuses", "done", to=["closed", "new"]),
        "types.task",
        "in a cycle",
    ),
    (changed("types", "chat", "statuses", "closed", to=["open"]), "types.chat", "may follow"),
    (changed("types", "chat", "statuses", "odd", to=["closed"]), "types.chat", "cannot be reached"),
    (changed("fields", "due", "min", to=1), "fields.due.min", "kind date"),
    (changed("fields", "cause", "options", to=[]), "fields.cause.options", "needs options"),
    (changed("fields", "order_no", "pattern", to="["), "fields.order_no.pattern", "regular"),
    (changed("fields", "order_no", "pattern", to="(?=a)"), "fields.order_no.pattern", "look-ar"),
    (changed("fields", "amount", "kind", to="money"), "fields.amount.kind", "'text'"),
    (
        changed("fields", "amount", to={"kind": "number", "min": 2, "max": 1}),
        "fields.amount",
        "max",
    ),
    (changed("topics", "general", "group", to="nobody"), "topics.general.group", "first-line"),
    (changed("topics", "billing", "fields", "close", to=["x?"]), "topics.billing.fields", "'x'"),
    (changed("calendars", "office", "timezone", to="Mars"), "calendars.office.timezone", "Mars"),
    (changed("calendars", "office", "week", "mon", to=["09:00-10:00"]), "week.mon", "mon-fri"),
    (changed("calendars", "office", "week", "noday", to=[]), "week.noday", "mon, tue"),
    (changed("calendars", "always", "week", "mon-sun", to=["00:00-24:30"]), "mon-sun", "24:00"),
    (
        changed("calendars", "always", "week", "mon-sun", to=["18:00-09:00"]),
        "mon-sun",
        "after the start",
    ),
    (
        changed("calendars", "always", "week", "mon-sun", to=["09:00-13:00", "12:00-14:00"]),
        "calendars.always.week.mon-sun",
        "overlap",
    ),
    (changed("calendars", "always", "week", to={}), "calendars.always.week", "no hours"),
    (
        changed("calendars", "always", "week", to={"mon": ["09:00-09:05"]}),
        "sla.0.targets.TTR",
        "in a year",
    ),
    (changed("groups", "finance", "operators", to=["eve"]), "groups.finance.operators", "anna"),
    (changed("groups", "finance", "method", to="random"), "groups.finance.method", "longest_idle"),
    (changed("groups", "finance", "mode", to="push"), "groups.finance.mode", "claim"),
    (changed("groups", "finance", "calendar", to="moon"), "groups.finance.calendar", "always"),
    (changed("operators", "anna", "skills", to={"x": 1}), "operators.anna.skills", "billing"),
    (changed("operators", "anna", "skills", to={"general": 9}), "operators.anna.skills", "9"),
    (changed("operators", "anna", "limit", to="many"), "operators.anna.limit", "many"),
    (
        changed("operators", "anna", "channels", to={"fax": 1}),
        "operators.anna.channels.fax",
        "telegram",
    ),
    (changed("operators", "an.na", to={"limit": 1}), "operators.an.na", "does not match"),
    (changed("sla", 0, "targets", "FRT", to="soon"), "sla.0.targets.FRT", "soon"),
    (changed("sla", 0, "targets", "FRT", to="PT0S"), "sla.0.targets.FRT", "greater than"),
    (changed("sla", 0, "targets", "XYZ", to="PT1H"), "sla.0.targets.XYZ", "'FRT'"),
    (changed("sla", 0, "calendar", to="moon"), "sla.0.calendar", "office"),
    (changed("sla", 0, "warn", to=[0.8, 0.5]), "sla.0.warn", "rising"),
    (changed("sla", 0, "warn", to=[1.5]), "sla.0.warn.0", "1.5"),
    (changed("sla", 0, "match", to={"topic": "x"}), "sla.0.match.topic", "billing"),
    (changed("sla", 0, "match", to={"weather": "x"}), "sla.0.match.weather", "'topic'"),
    (changed("sla", 0, "nrt", to="never"), "sla.0.nrt", "restart"),
    (changed("channels", "fax", to={"main": {}}), "channels.fax", "telegram"),
    (
        changed("channels", "telegram", "main", to={"secret": "env:A"}),
        "channels.telegram.main.token",
        "missing",
    ),
    (changed("channels", "form", "main", "smtp", to="sink"), "channels.form.main.smtp", "origins"),
    (changed("channels", "telegram", "main", "api_base", to="ftp://x"), "main.api_base", "ftp://x"),
    (
        changed("channels", "telephony", "main", "field_mapping", to={"uuid": "callid"}),
        "channels.telephony.main.field_mapping.uuid",
        "'call_id'",
    ),
    (
        changed("channels", "telephony", "main", "field_mapping", to={"a b": "call_id"}),
        "channels.telephony.main.field_mapping.a b",
        "the pattern",
    ),
    (changed("channels", "telegram", "a b", to={}), "channels.telegram.a b", "the pattern"),
    (
        changed("webhooks", "audit", "events", to=["everything"]),
        "webhooks.audit.events",
        "everything",
    ),
    (
        changed("webhooks", "audit", "events", to=["trunkline.ingest.v1.*"]),
        "webhooks.audit.events",
        "trunkline.tickets.v1.*",
    ),
    (
        changed("calendars", "office", "holidays", "country", to="XX"),
        "calendars.office.holidays.country",
        "UA",
    ),
    (changed("webhooks", "audit", "events", to=[]), "webhooks.audit.events", "at least 1"),
    (changed("webhooks", "audit", "ordered", to="perhaps"), "webhooks.audit.ordered", "perhaps"),
    (
        changed("subscribers", "crm", "streams", to=["ALL"]),
        "subscribers.crm.streams.0",
        "'TICKETS'",
    ),
    (
        changed("notifications", "mandatory", "channels", to=["fax"]),
        "notifications.mandatory",
        "bell",
    ),
    (
        changed("subscribers", "sla-relay", to={"streams": ["SLA"]}),
        "subscribers.sla-relay",
        "itself",
    ),
    (
        changed("channels", "custom", "crm", to={"secret": "env:X", "url": "sink"}),
        "channels.custom.crm",
        "another user",
    ),
    (changed("limits", "per_account", to="fast"), "limits.per_account", "1000/s"),
    (changed("retention", "inbound", to="P0D"), "retention.inbound", "greater than"),
    (changed("retention", "streams", to="a month"), "retention.streams", "a month"),
    ("[1, 2]", "the document", "mapping"),
    ("a: {", "line", "not YAML"),
    ("name: a\nname: b\n", "line 2", "duplicate"),
]


@pytest.mark.parametrize(("text", "path", "detail"), WRONG, ids=[f"{p}-{t}" for _, p, t in WRONG])
def test_invalid_value_is_reported_with_its_path(text: str, path: str, detail: str) -> None:
    problems = refused(text)

    assert any(path in p.partition(": ")[0] and detail in p for p in problems), problems


def test_examples_in_docstrings_of_values_are_right() -> None:
    assert doctest.testmod(values) == (0, 5)


def test_problems_are_reported_together_without_secrets() -> None:
    document = json.loads(changed("channels", "telegram", "main", "secret", to="hunter2"))
    document["limits"]["per_account"] = "1000"
    problems = refused(json.dumps(document))

    assert len(problems) == 2
    assert "hunter2" not in str(problems)


def test_two_secrets_are_allowed_while_rotating() -> None:
    two = load(changed("channels", "telegram", "main", "secret", to=["env:NEW", "file:/run/old"]))
    three = changed("channels", "telegram", "main", "secret", to=["env:A", "env:B", "env:C"])

    assert two.channels["telegram"]["main"].secret == ["env:NEW", "file:/run/old"]
    assert refused(three)


def test_diff_shows_changes_by_path() -> None:
    document = json.loads(changed("operators", "anna", "limit", to=7))
    del document["webhooks"]["audit"]["ordered"]
    document["operators"]["eve"] = {"limit": 1}

    assert diff(load(TEXT), load(json.dumps(document))) == [
        "~ operators.anna.limit: 5 → 7",
        "- webhooks.audit.ordered: True",
        "+ operators.eve.limit: 1",
    ]


@asynccontextmanager
async def replica(world: World, service: str) -> AsyncGenerator[tuple[Workspaces, NatsConnection]]:
    """Open a service's copy of the workspace, followed as the service does."""
    db = Database(world.dsn(service), size=2)
    line = NatsConnection(world.nats.url, service, world.creds, service)
    await db.open()
    await line.open()
    copy = Workspaces(db.pool)

    async def following() -> None:
        while True:
            with suppress(Exception):
                await copy.follow(line)

    await copy.load()
    task = asyncio.create_task(following())
    try:
        yield copy, line
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await line.broker.stop()
        await db.close()


async def test_versions_reach_every_replica_and_are_kept(world: World) -> None:
    async with replica(world, "sla") as (sla, _), replica(world, "ingest") as (ingest, _):
        with pytest.raises(NotReady):
            _ = sla.current
        assert await world.apply() == 1
        await asyncio.wait_for(asyncio.gather(sla.wait(0), ingest.wait(1)), 5)
        assert await world.apply(changed("operators", "anna", "limit", to=9)) == 2
        await asyncio.wait_for(asyncio.gather(sla.wait(2), ingest.wait(2)), 5)

        assert (sla.version(1).operators["anna"].limit, sla.version(2).operators["anna"].limit) == (
            5,
            9,
        )
        assert sla.current is sla.version(2)
        with pytest.raises(NotReady):
            sla.version(3)
    async with replica(world, "sla") as (restarted, _):
        assert restarted.latest == 2
    assert await world.sql("notify", "SELECT count(*) FROM workspace") == [(0,)]


async def test_following_survives_a_server_restart(world: World) -> None:
    await world.apply()
    async with replica(world, "routing") as (routing, _):
        await asyncio.wait_for(routing.wait(1), 5)
        world.nats.kill()
        world.nats.start()
        await world.apply(changed("name", to="after the crash"))
        await asyncio.wait_for(routing.wait(2), 20)

        assert routing.current.name == "after the crash"


async def test_one_of_concurrent_applies_wins(world: World) -> None:
    nc = await world.as_admin()
    js = nc.jetstream()
    several = (apply(js, load(changed("name", to=f"n{n}"))) for n in range(4))
    outcomes = await asyncio.gather(*several, return_exceptions=True)
    with pytest.raises(Conflict):
        await publish(js, 99, {}, 0)
    await nc.close()

    assert 1 in outcomes
    assert all(isinstance(o, int | Conflict) for o in outcomes)
    assert any(isinstance(o, Conflict) for o in outcomes)


async def test_removed_id_is_refused_and_retired_id_allowed(world: World) -> None:
    await world.apply()
    document = json.loads(RAW)
    del document["operators"]["bohdan"]
    document["groups"]["first-line"]["operators"].remove("bohdan")
    with pytest.raises(InvalidWorkspace, match=r"operators\.bohdan: an id is never removed"):
        await world.apply(json.dumps(document))
    document["operators"]["bohdan"] = {"limit": 0, "retired": True}

    assert await world.apply(json.dumps(document)) == 2


async def test_lost_stream_is_refilled_from_the_record(world: World) -> None:
    await world.apply()
    await world.apply(changed("name", to="second"))
    async with replica(world, "tickets") as (tickets, _):
        await asyncio.wait_for(tickets.wait(2), 5)
        nc = await world.as_admin()
        js = nc.jetstream()
        config = (await js.stream_info("WORKSPACE")).config
        await js.delete_stream("WORKSPACE")
        await js.add_stream(config)
        with pytest.raises(Conflict, match="the record 2"):
            await apply(js, load(TEXT), recorded=tickets.latest)
        relay = NatsConnection(world.nats.url, "tickets-relay", world.creds, "tickets")
        await relay.open()
        await asyncio.gather(tickets.refill(relay.js), tickets.refill(relay.js))
        await relay.broker.stop()
        version, workspace = await newest(js)
        told = (await js.stream_info("WORKSPACE")).state.messages
        await nc.close()

        assert (version, workspace, told) == (2, tickets.version(2), 2)
        assert await world.apply(changed("name", to="third")) == 3
        await asyncio.wait_for(tickets.wait(3), 10)


async def test_raw_deliveries_keep_the_workspace_retention(world: World) -> None:
    await world.apply(changed("retention", "inbound", to="P7D"))
    nc = await world.as_admin()
    config = (await nc.jetstream().stream_info("INBOUND")).config
    plan = plan_for(the_plan(), load(TEXT))
    again = await provision(world.admin_dsn, world.nats.url, world.creds, the_plan())
    after = (await nc.jetstream().stream_info("INBOUND")).config
    durable = await nc.jetstream().consumer_info("TICKETS", "crm")
    await nc.close()

    assert config.max_age == after.max_age == 7 * 86400
    assert again == []
    assert plan.subscribers["crm"].streams == ["TICKETS"]
    assert durable.config.durable_name == "crm"
