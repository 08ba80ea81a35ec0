"""Judges a whole town: all checkers over all its records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from faults import checkers, records
from faults.town import LIMITS, SERVICES, STREAMS
from trunkline.provision import connect_as

if TYPE_CHECKING:
    from faults.town import Town

ONCE = {
    "target_set": ("clock",),
    "target_met": ("clock",),
    "target_breached": ("clock",),
    "notification_sent": ("notification_id",),
    "message_sent": ("message_id",),
    "assignee_changed": ("epoch", "to"),
    "reply_sent": (),
    "closed": (),
}
"""What is said once: by these parts of the data, for one request."""

TAKEN_IN = "SELECT inbound_id::text FROM ingest.item WHERE n = 0"


async def judge(town: Town) -> dict[str, list[str]]:
    """Everything that is wrong, by promise; nothing else is left out."""
    said = {name: await records.outbox(town.dsn, name) for name in SERVICES}
    routing, tickets, ingest = said["routing"], said["tickets"], said["ingest"]
    channels = {row.key: row.data["channel"] for row in tickets if row.name == "opened"}
    wrong = {
        "2xx means kept": checkers.kept(town.accepted, await _taken_in(town)),
        "within limits": checkers.within_limits(routing, tickets, LIMITS, channels),
        "one owner": checkers.one_owner(routing),
        "one effect": checkers.one_effect(town.texts, tickets),
        "one fact": checkers.one_fact(ingest, tickets),
        "one open request per conversation": checkers.one_open(tickets),
        "replies": checkers.sent(town.replies, await arrived(town), town.crashes),
        "parked": await _parked(town),
    }
    for name, rows in said.items():
        wrong[f"{name}: gap-free"] = checkers.gap_free(rows)
        wrong[f"{name}: once each"] = checkers.once_each(rows, ONCE)
    nc = await connect_as("admin", town.instance.nats_url, town.instance.creds)
    try:
        for name, stream in zip(SERVICES, STREAMS, strict=True):
            told = await records.stream(nc, stream)
            ever = (await nc.jetstream().stream_info(stream)).state.last_seq
            wrong[f"{name}: told once"] = checkers.told_once(said[name], told, ever)
    finally:
        await nc.close()
    wrong["bells"] = _bells(said["notify"], tickets)
    wrong["clocks"] = _clocks(said["sla"], tickets)
    return {promise: faults[:5] for promise, faults in wrong.items() if faults}


def _bells(notify: list[checkers.Row], tickets: list[checkers.Row]) -> list[str]:
    """Everybody who was given a request was told so."""
    rung = {
        (row.key, row.data["recipient"])
        for row in notify
        if row.name == "notification_sent" and row.data["kind"] == "assigned"
    }
    given = {
        (r.key, r.data["to"]) for r in tickets if r.name == "assignee_changed" and r.data["to"]
    }
    return [f"{who} was not told of {key}" for key, who in given - rung]


def _clocks(sla: list[checkers.Row], tickets: list[checkers.Row]) -> list[str]:
    """Every request's promises were watched, and those of a closed one are met."""
    met = {(row.key, row.data["clock"]) for row in sla if row.name == "target_met"}
    ended = {row.key for row in tickets if row.name == "closed"}
    return [
        f"{c} of {key} is not met" for key in ended for c in ("FRT", "TTR") if (key, c) not in met
    ]


async def _taken_in(town: Town) -> list[str]:
    return [id_ for (id_,) in await records.query(town.dsn, TAKEN_IN)]


async def arrived(town: Town) -> list[tuple[str, str]]:
    async with httpx.AsyncClient() as http:
        items = (await http.get(f"{town.instance.url('sink')}/sent?channel=telegram")).json()
    return [
        (item["text"], item["headers"].get("idempotency-key", ""))
        for item in items["items"]
        if item["text"].startswith("answer to ")
    ]


async def _parked(town: Town) -> list[str]:
    wrong = []
    for name in SERVICES:
        rows = await records.query(
            town.dsn, f"SELECT key, reason FROM {name}.parked WHERE settled_at IS NULL"
        )
        wrong += [f"{name} parked {key}: {reason}" for key, reason in rows]
    return wrong
