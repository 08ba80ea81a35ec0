"""Responses to calls of services reach ingest's own subjects, and store no delivery."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest
from world import EXAMPLE, the_plan

from chassis.testing import eventually, running
from ingest.app import make as make_ingest
from ingest.gateway import nats as gateway
from ingest.settings import Settings as IngestSettings
from trunkline.provision import connect_as
from trunkline.provision.grants import SERVICES, accounts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nats.aio.client import Client
    from world import World

INTEGRATOR_SUBJECT = "channels.custom.acme"
REPLY_SUBJECTS = (INTEGRATOR_SUBJECT, "replay.ingest", "wake.ingest")
SUBJECT_OF_SLA = "trunkline.sla.v1.breached.00.x"
ATTACKERS = sorted(set(accounts(the_plan())[SERVICES]) - {"ingest", "ingest-relay"})


def delivery(id: str) -> bytes:
    """Return the body of a valid delivery."""
    return json.dumps({"id": id, "text": "hello", "contact": {"id": "c-7"}}).encode()


class Ingest(NamedTuple):
    """A running ingest that accepts deliveries of acme, and the clients of its test."""

    http: httpx.AsyncClient
    acme: Client
    admin: Client

    async def stored(self) -> int:
        """Return how many messages INBOUND has received."""
        info = await self.admin.jetstream().stream_info("INBOUND")
        return info.state.last_seq

    async def status(self, id: str) -> int:
        """Return the status of a delivery that acme requests; 202 has none in its body."""
        reply = await self.acme.request(INTEGRATOR_SUBJECT, delivery(id), timeout=5)
        return int(json.loads(reply.data).get("status", 202))


@asynccontextmanager
async def accepting(world: World) -> AsyncGenerator[Ingest]:
    """Start ingest; the streams that others may read contain valid deliveries."""
    world.environment["CUSTOM_ACME_SECRET"] = "whsec_" + "A" * 43 + "="
    await world.apply(EXAMPLE.read_text())
    admin = await world.as_admin()
    acme = await connect_as("acme", world.nats.url, world.creds)
    try:
        for subject in ("redrive.x.x", SUBJECT_OF_SLA):
            await admin.jetstream().publish(subject, delivery(f"stored in {subject}"))
        async with running(make_ingest(world.settings("ingest", IngestSettings))) as http:
            found = Ingest(http, acme, admin)

            async def ready() -> bool:
                return (await http.get("/health/ready")).status_code == 200

            await eventually(ready)
            assert await found.status("first") == 202
            yield found
    finally:
        await acme.close()
        await admin.close()


async def call_all(world: World, user: str) -> int:
    """Make every permitted call with each reply subject; return the responses that acme's gets.

    Every JetStream call and every message to a stream has at least one response.
    """
    subjects = accounts(the_plan())[SERVICES][user].publish or []
    expected = 0
    nc = await connect_as(user, world.nats.url, world.creds)
    try:
        for subject in subjects:
            concrete = subject.replace("*", "x").replace(">", "v1.x.00.x")
            for reply in REPLY_SUBJECTS:
                await nc.publish(concrete, body_for(subject), reply=reply)
            expected += subject.startswith(("$JS.", "trunkline.", "parked.", "redrive."))
        await nc.flush()
    finally:
        await nc.close()
    return expected


def body_for(subject: str) -> bytes:
    """Return the body with which a call reads what is stored; for streams, a delivery."""
    if "CONSUMER.MSG.NEXT" in subject:
        return b'{"batch":1,"no_wait":true}'
    if "STREAM.PURGE" in subject:
        return b'{"keep":1000}'
    if "CONSUMER.RESET" in subject or "GET" in subject:
        return b'{"seq":1}'
    return b"" if subject.startswith("$JS.") else delivery("published by a service")


def ignored() -> float:
    value = gateway.IGNORED.labels("ingest")._value.get()
    return float(value)


async def test_responses_to_services_store_no_delivery(world: World) -> None:
    async with accepting(world) as ingest:
        before, ignored_before = await ingest.stored(), ignored()
        expected = sum([await call_all(world, user) for user in ATTACKERS])

        async def all_ignored() -> bool:
            return ignored() - ignored_before >= expected

        assert expected > 100
        await eventually(all_ignored)
        assert await ingest.stored() == before
        assert (await ingest.http.get("/health/ready")).status_code == 200
        assert await ingest.status("last") == 202
        assert await ingest.stored() == before + 1


async def test_messages_without_a_reply_subject_are_ignored(world: World) -> None:
    async with accepting(world) as ingest:
        before, ignored_before = await ingest.stored(), ignored()
        await ingest.acme.publish(INTEGRATOR_SUBJECT, delivery("without"))
        assert await ingest.status("last") == 202

        assert ignored() == ignored_before + 1
        assert await ingest.stored() == before + 1


async def test_unchecked_reply_subjects_store_deliveries(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Show that the check is what protects: without it, responses are stored."""
    async with accepting(world) as ingest:
        monkeypatch.setattr(gateway, "IMPORTED_REPLY", "")
        before = await ingest.stored()
        await call_all(world, "sla")

        async def stored() -> bool:
            return await ingest.stored() > before

        await eventually(stored)
