"""`trunkline audit`: check that every accepted delivery is accounted for."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Self

import httpx

from trunkline.instance import SERVICE_PORTS, Instance
from trunkline.paths import CannotStart

PENDING_TIMEOUT_S, POLL_INTERVAL_S = 10.0, 0.2
OUTCOMES = ("opened", "appended", "noted", "duplicate", "rejected", "parked")


@dataclass(frozen=True)
class Balance:
    """The ledger of ingest and the number of parked facts of each service."""

    ledger: dict[str, Any]
    parked: dict[str, int]

    @classmethod
    async def load(cls, instance: Instance) -> Self:
        """Load the balance, waiting up to `PENDING_TIMEOUT_S` until nothing is pending.

        Raises `CannotStart` if a service does not answer.
        """
        deadline = time.monotonic() + PENDING_TIMEOUT_S
        async with _client(instance) as client:
            ledger = await _get(client, instance, "ingest", "/v1/ledger")
            while ledger["pending"] and time.monotonic() < deadline:
                await asyncio.sleep(POLL_INTERVAL_S)
                ledger = await _get(client, instance, "ingest", "/v1/ledger")
            parked = {
                name: len((await _get(client, instance, name, "/v1/parked?limit=200"))["items"])
                for name in SERVICE_PORTS
            }
        return cls(ledger, parked)

    @property
    def faults(self) -> list[str]:
        """The violations found, as sentences; empty if the ledger balances."""
        ledger, items = self.ledger, sum(self.ledger["outcomes"].values())
        faults = []
        if ledger["pending"]:
            faults.append(
                f"{ledger['pending']} deliveries are still pending after {PENDING_TIMEOUT_S:.0f} s"
            )
        if ledger["items"] != items:
            faults.append(f"{ledger['items']} items were processed, {items} have an outcome")
        if ledger["accepted"] != ledger["taken_in"] + ledger["pending"] + ledger["lost"]:
            faults.append(
                f"{ledger['accepted']} deliveries were accepted, {ledger['taken_in']} processed,"
                f" {ledger['pending']} are pending and {ledger['lost']} lost"
            )
        if ledger["overlooked"]:
            faults.append(
                f"{ledger['overlooked']} deliveries in INBOUND were skipped by its readers"
            )
        unacknowledged = ledger["lost"] - ledger["lost_acknowledged"]
        if unacknowledged > 0:
            faults.append(f"{unacknowledged} accepted deliveries are lost and not acknowledged")
        if not faults and not ledger["balanced"]:
            faults.append("ingest reports that its ledger does not balance")
        return faults

    def text(self) -> str:
        """Return the balance as a readable table."""
        ledger = self.ledger
        names = ("accepted", "taken_in", "pending", "lost", "items")
        lines = [f"{name.replace('_', ' '):12}{ledger[name]:>10}" for name in names]
        lines += [f"  {name:10}{ledger['outcomes'].get(name, 0):>10}" for name in OUTCOMES]
        if len(ledger["epochs"]) > 1:
            lines += map(_epoch_line, ledger["epochs"])
        if ledger["lost_acknowledged"]:
            lines.append(f"{ledger['lost_acknowledged']:>12} lost deliveries are acknowledged")
        lines += [f"{n:>12} parked in {name}" for name, n in self.parked.items() if n]
        verdict = "balanced" if not self.faults else "NOT BALANCED: "
        return "\n".join([*lines, verdict + "; ".join(self.faults)])


async def accept_losses(instance: Instance, lost: int, reason: str) -> None:
    """Acknowledge a number of lost deliveries; raises `CannotStart` if ingest refuses it."""
    url = f"{instance.url('ingest')}/v1/ledger/losses"
    try:
        async with _client(instance) as client:
            response = await client.post(url, json={"lost": lost, "reason": reason})
    except httpx.HTTPError as error:
        raise CannotStart(f"ingest does not answer at {url}: {error!r}") from None
    if response.is_error:
        detail = response.json().get("detail") or response.text[:200]
        raise CannotStart(f"--accept-lost {lost} is refused: {detail}")


def _client(instance: Instance) -> httpx.AsyncClient:
    token = instance.signer.token("audit", ["supervisor"])
    return httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=5)


def _epoch_line(epoch: dict[str, Any]) -> str:
    figures = ", ".join(
        f"{epoch[name]} {name.replace('_', ' ')}"
        for name in ("accepted", "taken_in", "pending", "lost")
    )
    cause = epoch["cause"].replace("_", " ")
    return f"epoch {epoch['number']} ({cause} {epoch['began_at']}): {figures}"


async def _get(client: httpx.AsyncClient, instance: Instance, service: str, path: str) -> Any:
    url = f"{instance.url(service)}{path}"
    try:
        response = await client.get(url)
    except httpx.HTTPError as error:
        raise CannotStart(f"{service} does not answer at {url}: {error!r}") from None
    if response.is_error:
        raise CannotStart(
            f"{service} answers {response.status_code} at {url}: {response.text[:200]}"
        )
    return response.json()
