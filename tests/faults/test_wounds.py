"""What a person has to heal: an unreadable fact, a lost NATS store.

With the five services as they are, two replicas of each.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from desk import soon

from chassis.testing import eventually
from faults.judged import judge
from faults.load import Load
from faults.records import query
from trunkline.provision import connect_as

if TYPE_CHECKING:
    from pathlib import Path

    from faults.town import Town

pytestmark = pytest.mark.timeout(200, func_only=True)  # ten processes share two processors

SPOIL = """
CREATE OR REPLACE FUNCTION {schema}.spoil() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF position('spoil me' IN convert_from(NEW.{body}, 'UTF8')) > 0 THEN
        NEW.{body} := 'x'::bytea || NEW.{body};
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER spoil BEFORE INSERT ON {schema}.{table}
    FOR EACH ROW WHEN (NEW.{type} LIKE '%{fact}') EXECUTE FUNCTION {schema}.spoil();
GRANT EXECUTE ON FUNCTION {schema}.spoil() TO {schema};
"""
REPAIR = """
DROP TRIGGER spoil ON {schema}.{table};
UPDATE {schema}.{table} SET {body} = substring({body} FROM 2) WHERE get_byte({body}, 0) = 120;
"""
INGEST = {"schema": "ingest", "table": "outbox", "body": "body", "type": "type"}
TICKETS = {"schema": "tickets", "table": "tickets_events", "body": "state", "type": "topic"}


class Clerk:
    """Somebody who writes as a customer and looks as a supervisor."""

    def __init__(self, town: Town) -> None:
        self.town, self.desk = town, town.desk
        self.boss = town.token("boss", "supervisor")

    def get(self, service: str, path: str, door: int = 0) -> Any:
        answer = self.desk.http.get(self.town.doors(service)[door] + path, headers=self.boss)
        answer.raise_for_status()
        return answer.json()

    def post(self, service: str, path: str, body: Any = None) -> httpx.Response:
        url = self.town.doors(service)[0] + path
        return self.desk.http.post(url, json=body, headers=self.boss)

    def write(self, chat: int, *texts: str) -> list[str]:
        """Write; gives the requests the messages came to."""
        found = []
        for text in texts:
            self.town.texts.add(text)
            number = 10_000_000 + len(self.town.texts)
            inbound = self.desk.telegram(number, chat, text).json()["inbound_id"]
            found.append(str(self.desk.settled(inbound)["request_id"]))
        return found

    def parked(self, service: str, key: str) -> list[dict[str, Any]]:
        """What a service has parked about a request."""
        items = self.get(service, "/v1/parked?limit=200")["items"]
        return [item for item in items if item["key"] == key]

    def parks(self, service: str, key: str) -> list[dict[str, Any]]:
        """Wait until it has, at most two seconds."""
        head, *behind = soon(lambda: self.parked(service, key), within=2)
        assert (head["head"], [item["head"] for item in behind]) == (True, [False] * len(behind))
        assert "Unreadable" in head["reason"], head
        return [head, *behind]

    def redrive(self, service: str, key: str) -> None:
        """Have a service apply what it parked about a request, and what stands behind it."""
        head = self.parks(service, key)[0]
        answer = self.post(service, f"/v1/parked/{head['id']}/redrive")
        assert answer.status_code == 202, answer.text
        soon(lambda: not self.parked(service, key), within=5)

    def served(self, request_id: str) -> None:
        """Answer and close a request once somebody has it."""

        def mine() -> str:
            return str(self.get("tickets", f"/v1/requests/{request_id}")["assignee"] or "")

        assert soon(mine)
        text = f"answer to {request_id}"
        answer = self.post("tickets", f"/v1/requests/{request_id}/reply", {"text": text})
        assert answer.status_code == 201, answer.text
        self.town.replies[answer.json()["message_id"]] = text
        closed = self.post("tickets", f"/v1/requests/{request_id}/close", {"resolution": "done"})
        assert closed.status_code == 200, closed.text


@pytest.fixture
async def clerk(town: Town) -> Clerk:
    town.heal()
    await town.ready()
    await town.online()
    return Clerk(town)


def wipe(store: Path) -> None:
    """What `rm -rf` does: the store may be a link."""
    subprocess.run(["rm", "-rf", str(store)], check=True)


async def all_is_well(town: Town) -> None:
    """Nothing is left to do, everything is as it should be, and the ledger balances."""
    await Load(town, chats=0).run()
    found: dict[str, list[str]] = {}

    async def is_well() -> bool:
        found.clear()
        found.update(await judge(town))
        return not found

    # A stream that was made anew is published again while this waits.
    with contextlib.suppress(AssertionError):
        await eventually(is_well, within=15)
    assert found == {}
    audit = town.desk.run("audit", check=False)
    assert audit.returncode == 0, audit.stdout + audit.stderr


async def test_unreadable_fact_of_ingest_holds_back_one_request(town: Town, clerk: Clerk) -> None:
    await query(town.dsn, SPOIL.format(**INGEST, fact="request_opened"))
    try:
        bad, same = clerk.write(70_001, "spoil me", "are you there?")
        (good,) = clerk.write(70_002, "hello")
        assert bad == same
        soon(lambda: len(clerk.parks("tickets", bad)) == 2, within=2)
        clerk.served(good)
        for door in (0, 1):
            items = clerk.get("tickets", "/v1/parked", door)["items"]
            assert [item["key"] for item in items] == [bad, bad]
    finally:
        await query(town.dsn, REPAIR.format(**INGEST))
    clerk.redrive("tickets", bad)
    log = clerk.get("tickets", f"/v1/requests/{bad}/log")["items"]
    names = [entry["type"].rsplit(".", 1)[1] for entry in log]
    assert [name for name in names if name in {"opened", "message_added"}] == [
        "opened",
        "message_added",
    ]
    clerk.served(bad)
    await all_is_well(town)


async def test_unreadable_fact_of_tickets_holds_back_one_request(town: Town, clerk: Clerk) -> None:
    hearers = ("ingest", "routing", "sla", "notify")
    await query(town.dsn, SPOIL.format(**TICKETS, fact="opened"))
    try:
        bad, same = clerk.write(71_001, "spoil me too", "hello?")
        (good,) = clerk.write(71_002, "good day")
        assert bad == same
        for service in hearers:
            clerk.parks(service, bad)
        clerk.served(good)
    finally:
        await query(town.dsn, REPAIR.format(**TICKETS))
    for service in hearers:
        clerk.redrive(service, bad)
    clerk.served(bad)
    await all_is_well(town)


async def test_a_lost_nats_store_is_told_again_from_postgresql(town: Town, clerk: Clerk) -> None:
    (before,) = clerk.write(73_001, "before the loss")
    clerk.served(before)
    await all_is_well(town)
    workspace = await query(town.dsn, "SELECT max(version) FROM tickets.workspace")

    await asyncio.to_thread(town.stop_replicas)
    await asyncio.to_thread(town.desk.run, "down")
    await asyncio.to_thread(wipe, town.desk.data / "nats")
    await asyncio.to_thread(town.desk.up)
    town.add_replicas()
    await town.ready()

    nc = await connect_as("admin", town.instance.nats_url, town.instance.creds)
    last = await nc.jetstream().get_last_msg("WORKSPACE", "workspace.v")
    assert await nc.jetstream().consumer_info("TICKETS", "crm")
    await nc.close()
    assert f'"version":{workspace[0][0]}' in (last.data or b"").decode().replace(" ", "")
    town.replies.clear()  # the sink forgot what it got; it gets none of it again
    (after,) = clerk.write(73_001, "after it")
    clerk.served(after)
    assert clerk.get("tickets", f"/v1/requests/{after}")["follow_up_of"] == before
    await all_is_well(town)
