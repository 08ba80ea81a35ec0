"""Every user × every JetStream call × a reply subject in every stream, on a real server.

The server checks neither the reply subject of a call nor the deliver subject in the body of one, so
this asks what was stored: nothing, and nobody's consumer was made, moved, eaten from or deleted.
"""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from chassis.testing import eventually
from trunkline import paths
from trunkline.provision import Plan, connect_as, files, grants, provision_streams, write_files
from trunkline.servers import Nats

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

    Accounts = dict[str, dict[str, grants.Grants]]

OWN = b'{"it": "is said by one who may"}'
BY_STREAM = {
    "INFO": b"",
    "MSG.GET": b'{"seq":1}',
    "MSG.DELETE": b'{"seq":1}',
    "PURGE": b'{"keep":1000}',
    "UPDATE": b"{}",
    "DELETE": b"",
    "SNAPSHOT": b'{"deliver_subject":"%s"}',
}
BY_CONSUMER = {
    "INFO": b"",
    "MSG.NEXT": b'{"batch":3,"no_wait":true}',
    "RESET": b'{"seq":1}',
    "PAUSE": b'{"pause_until":"2099-01-01T00:00:00Z"}',
    "UNPIN": b'{"group":"g"}',
    "DELETE": b"",
}
INTEGRATOR_SUBJECT = "channels.custom.acme"
"""On it ingest stores what has a reply subject below `_R_.`: a request from another account."""
ACKS = (b"+NXT", b'+NXT {"batch":3,"no_wait":true}', b"+ACK", b"-NAK", b"+WPI", b"+TERM")


def targets(plan: Plan) -> list[str]:
    """A subject of every stream."""
    return [concrete(subject) for each in plan.streams.values() for subject in each.subjects]


def concrete(subject: str) -> str:
    """Fill the wildcards in: everybody reads the slot 00, and a mail."""
    return subject.replace("*", "x").replace(">", "email.x.00.k")


def calls(plan: Plan, target: str) -> list[tuple[str, bytes]]:
    """Every call of the API, with a body that has the server do it, and deliver to `target`."""
    pushed = {"deliver_subject": target, "ack_policy": "none", "deliver_policy": "all"}
    found = [("$JS.API.INFO", b""), ("$JS.API.STREAM.NAMES", b""), ("$JS.API.STREAM.LIST", b"")]
    for stream in plan.streams:
        for call, body in BY_STREAM.items():
            body = body.replace(b"%s", target.encode())
            found.append((f"$JS.API.STREAM.{call}.{stream}", body))
        found.append((f"$JS.API.DIRECT.GET.{stream}", b'{"seq":1,"batch":3}'))
        found.append((f"$JS.API.DIRECT.GET.{stream}.{target}", b""))
        found += [(f"$JS.API.CONSUMER.{call}.{stream}", b"") for call in ("NAMES", "LIST")]
        new = {"stream_name": stream, "config": pushed}
        found.append((f"$JS.API.CONSUMER.CREATE.{stream}", json.dumps(new).encode()))
        ours = [each.name for each in plan.consumers() if each.stream == stream]
        theirs = [name for name, each in plan.subscribers.items() if stream in each.streams]
        for name in [*ours, *theirs, "new"]:
            named = {"stream_name": stream, "config": pushed | {"name": name}}
            body = json.dumps(named).encode()
            found.append((f"$JS.API.CONSUMER.CREATE.{stream}.{name}", body))
            named["config"] |= {"durable_name": name}
            body = json.dumps(named).encode()
            found.append((f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}", body))
            found += [
                (f"$JS.API.CONSUMER.{call}.{stream}.{name}", body)
                for call, body in BY_CONSUMER.items()
            ]
            found += [(f"$JS.ACK.{stream}.{name}.1.1.1.1700000000000000000.0", ack) for ack in ACKS]
    return found


def own(plan: Plan, user: str) -> set[tuple[str, str]]:
    """The consumers a user may move: those it reads by."""
    found = {(each.stream, each.name) for each in plan.consumers() if each.service == user}
    streams = plan.subscribers[user].streams if user in plan.subscribers else []
    return found | {(stream, user) for stream in streams}


class Watch:
    """The state of streams and consumers, as the administrator reads it."""

    def __init__(self, js: JetStreamContext, plan: Plan) -> None:
        self.js, self.plan = js, plan
        self.ends: dict[str, int] = {}
        self.consumers: dict[tuple[str, str], Any] = {}

    async def look(self) -> None:
        self.ends, self.consumers = await self._ends(), await self._consumers()

    async def _ends(self) -> dict[str, int]:
        return {s: (await self.js.stream_info(s)).state.last_seq for s in self.plan.streams}

    async def _consumers(self) -> dict[tuple[str, str], Any]:
        return {
            (stream, each.name): (
                each.created, each.config, each.delivered, each.ack_floor, each.num_ack_pending,
            )
            for stream in self.plan.streams
            for each in await self.js.consumers_info(stream)
        }  # fmt: skip

    async def complaints(self, user: str) -> list[str]:
        """What happened since `look` that this user must not be able to do."""
        found = []
        for stream, end in (await self._ends()).items():
            for sequence in range(self.ends[stream] + 1, end + 1):
                message = await self.js.get_msg(stream, seq=sequence)
                if message.data != OWN:
                    found.append(f"{user} stored {message.data!r:.60} in {stream}")
        consumers = await self._consumers()
        for each in self.consumers.keys() | consumers.keys():
            before, after = self.consumers.get(each), consumers.get(each)
            if each in own(self.plan, user) and before and after:
                before, after = before[:2], after[:2]
            if before != after:
                found.append(f"{user} touched the consumer {each}: {before} → {after}")
        return found


async def attack(nc: Client, plan: Plan, user: str, grant: grants.Grants) -> None:
    """Make every call once; those the server lets through, with a reply in every stream.

    And to the user itself: where nobody hears, the server may not even deliver.
    """
    first, *others = [*targets(plan), INTEGRATOR_SUBJECT, f"_INBOX_{user}.got"]
    await nc.subscribe(others[-1])
    refused: set[str] = set()

    async def heard(why: Exception) -> None:
        refused.add(str(why).rpartition(' to "')[2].partition('"')[0].lower())

    nc._error_cb = heard
    for subject, body in calls(plan, first):
        await nc.publish(subject, body, reply=first)
    await nc.flush()
    await nc.flush()
    for target in others:
        for subject, body in calls(plan, target):
            if subject.lower() not in refused:
                await nc.publish(subject, body, reply=target)
    for subject in grant.publish or []:
        for target in [] if subject.startswith("$JS.") else [first, *others]:
            await nc.publish(concrete(subject), OWN, reply=target)
    await nc.flush()
    await nc.flush()


@asynccontextmanager
async def server(data: Path, plan: Plan) -> AsyncGenerator[tuple[Nats, Client]]:
    """Start one, provisioned, with messages in every stream; gives the administrator, too."""
    config = write_files(data, plan, port=-1, monitor_port=-1)
    with Nats(config, data / "nats") as nats:
        admin = await connect_as("admin", nats.url, data / "creds")
        js = admin.jetstream(timeout=5)
        await provision_streams(js, plan)
        for subject in targets(plan):
            for _ in range(5):
                await js.publish(subject, b"was there before")
        for each in [*plan.consumers(), *(("TICKETS", name) for name in plan.subscribers)]:
            stream, name = each if isinstance(each, tuple) else (each.stream, each.name)
            await (await js.pull_subscribe_bind(name, stream)).fetch(1)
        try:
            yield nats, admin
        finally:
            await admin.close()
    paths.remove(data / "nats")


async def tried(nats: Nats, watch: Watch, user: str, grant: grants.Grants) -> list[str]:
    """Have one user try everything; gives what it must not have been able to do."""
    await watch.look()
    before = (await watch.js.account_info()).api.total
    nc = await connect_as(user, nats.url, nats.config.parent / "creds")
    try:
        await attack(nc, watch.plan, user, grant)
    finally:
        await nc.close()
    done = (await watch.js.account_info()).api.total - before
    asked = sum(".INFO." in subject for subject in grant.publish or [])
    assert done >= asked * len(targets(watch.plan)), "the server did not do what was asked"
    return await watch.complaints(user)


async def test_no_reply_subject_reaches_a_stream(tmp_path: Path, plan: Plan) -> None:
    async with server(tmp_path, plan) as (nats, admin):
        js = admin.jetstream(timeout=5)
        watch, throughout = Watch(js, plan), Watch(js, plan)
        await throughout.look()
        ingest = await connect_as("ingest", nats.url, tmp_path / "creds")
        responses: list[tuple[str, bytes]] = []

        async def receive(message: Msg) -> None:
            responses.append((message.reply, message.data))

        await ingest.subscribe("channels.custom.*", "ingest", receive)
        for user, grant in grants.grants(plan).items():
            if grant.publish is not None:
                assert await tried(nats, watch, user, grant) == []
        await ingest.flush()
        requests = {data for reply, data in responses if reply.startswith("_R_.")}
        assert requests == {OWN}, "only integrators may send requests to ingest"
        assert any(reply.startswith("$JS.ACK.") for reply, _ in responses)
        await ingest.close()
        late = await throughout.complaints("somebody")
        assert [each for each in late if "stored" in each] == []
        assert set(watch.consumers) == {(e.stream, e.name) for e in plan.consumers()} | {
            (stream, name) for name, each in plan.subscribers.items() for stream in each.streams
        }


def in_the_account_of_the_streams(found: Accounts) -> None:
    found[grants.STREAMS]["sla"] = found[grants.SERVICES].pop("sla")


def granted(user: str, account: str, call: str) -> Callable[[Accounts], None]:
    def widen(found: Accounts) -> None:
        grant = found[account][user]
        found[account][user] = grants.Grants(
            publish=[*(grant.publish or []), call], subscribe=grant.subscribe
        )

    return widen


@pytest.mark.parametrize(
    ("user", "widen", "harm"),
    [
        ("sla", in_the_account_of_the_streams, "sla stored"),
        (
            "sla",
            granted("sla", "SERVICES", "$JS.API.CONSUMER.CREATE.TICKETS.new"),
            "touched .*'new'.*None",
        ),
        (
            "tail",
            granted("tail", "OBSERVER_tail", "$JS.API.CONSUMER.DELETE.TICKETS.crm"),
            "touched .*'crm'.* None",
        ),
        (
            "notify-relay",
            granted("notify-relay", "SERVICES", "$JS.API.CONSUMER.RESET.TICKETS.crm"),
            "touched .*'crm'",
        ),
        (
            "acme",
            granted("acme", "CUSTOM_acme", "$JS.API.CONSUMER.MSG.NEXT.TICKETS.sla-tickets-00-15"),
            "touched .*'sla-tickets-00-15'",
        ),
    ],
    ids=["in APP", "may create", "may delete", "may reset", "may pull"],
)
async def test_one_grant_widened_is_noticed(
    tmp_path: Path,
    plan: Plan,
    monkeypatch: pytest.MonkeyPatch,
    user: str,
    widen: Callable[[Accounts], None],
    harm: str,
) -> None:
    whole = grants.accounts

    def widened(declared: Plan) -> Accounts:
        found = whole(declared)
        widen(found)
        return found

    monkeypatch.setattr(files, "accounts", widened)
    async with server(tmp_path, plan) as (nats, admin):
        watch = Watch(admin.jetstream(timeout=5), plan)
        await tried(nats, watch, user, grants.grants(plan)[user])

        async def noticed() -> bool:
            complaints = "\n".join(await watch.complaints(user))
            return re.search(harm, complaints) is not None

        await eventually(noticed)
