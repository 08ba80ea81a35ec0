"""`trunkline audit`: has everything that came in an outcome, and is all accounted for?"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Self

import httpx

from trunkline.instance import SERVICE_PORTS, Instance
from trunkline.paths import CannotStart

PATIENCE, PAUSE = 10.0, 0.2
OUTCOMES = ("opened", "appended", "noted", "duplicate", "rejected", "parked")


@dataclass(frozen=True)
class Balance:
    """ingest's ledger, and what the services have parked."""

    ledger: dict[str, Any]
    parked: dict[str, int]

    @classmethod
    async def of(cls, instance: Instance) -> Self:
        """Ask until nothing is pending, for at most ten seconds."""
        until = time.monotonic() + PATIENCE
        async with _client(instance) as client:
            ledger = await _get(client, instance, "ingest", "/v1/ledger")
            while ledger["pending"] and time.monotonic() < until:
                await asyncio.sleep(PAUSE)
                ledger = await _get(client, instance, "ingest", "/v1/ledger")
            parked = {
                name: len((await _get(client, instance, name, "/v1/parked?limit=200"))["items"])
                for name in SERVICE_PORTS
            }
        return cls(ledger, parked)

    @property
    def faults(self) -> list[str]:
        """What does not hold, in words."""
        ledger, items = self.ledger, sum(self.ledger["outcomes"].values())
        faults = []
        if ledger["pending"]:
            faults.append(f"{ledger['pending']} still pending after {PATIENCE:.0f} s")
        if ledger["items"] != items:
            faults.append(f"{ledger['items']} items were taken in, {items} have an outcome")
        if ledger["accepted"] != ledger["taken_in"] + ledger["pending"] + ledger["lost"]:
            faults.append(
                f"{ledger['accepted']} deliveries were accepted, {ledger['taken_in']} taken in,"
                f" {ledger['pending']} are pending and {ledger['lost']} lost"
            )
        if ledger["overlooked"]:
            faults.append(f"{ledger['overlooked']} are in INBOUND, and its readers are past them")
        unknown = ledger["lost"] - ledger["lost_acknowledged"]
        if unknown > 0:
            faults.append(f"{unknown} were accepted and are nowhere to be found")
        if not faults and not ledger["balanced"]:
            faults.append("ingest says that it does not balance")
        return faults

    def text(self) -> str:
        """The balance, for people."""
        ledger = self.ledger
        names = ("accepted", "taken_in", "pending", "lost", "items")
        lines = [f"{name.replace('_', ' '):12}{ledger[name]:>10}" for name in names]
        lines += [f"  {name:10}{ledger['outcomes'].get(name, 0):>10}" for name in OUTCOMES]
        if len(ledger["epochs"]) > 1:
            lines += map(_epoch, ledger["epochs"])
        if ledger["lost_acknowledged"]:
            lines.append(f"{ledger['lost_acknowledged']:>12} lost are known, and no fault")
        lines += [f"{n:>12} parked in {name}" for name, n in self.parked.items() if n]
        verdict = "it balances" if not self.faults else "IT DOES NOT BALANCE: "
        return "\n".join([*lines, verdict + "; ".join(self.faults)])


async def accept_losses(instance: Instance, lost: int, reason: str) -> None:
    """Record that so many lost deliveries are known; raises `CannotStart` when ingest refuses."""
    url = f"{instance.url('ingest')}/v1/ledger/losses"
    try:
        async with _client(instance) as client:
            answer = await client.post(url, json={"lost": lost, "reason": reason})
    except httpx.HTTPError as error:
        raise CannotStart(f"ingest does not answer at {url}: {error!r}") from None
    if answer.is_error:
        told = answer.json().get("detail") or answer.text[:200]
        raise CannotStart(f"--accept-lost {lost} is refused: {told}")


def _client(instance: Instance) -> httpx.AsyncClient:
    token = instance.signer.token("audit", ["supervisor"])
    return httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=5)


def _epoch(epoch: dict[str, Any]) -> str:
    figures = ", ".join(
        f"{epoch[name]} {name.replace('_', ' ')}"
        for name in ("accepted", "taken_in", "pending", "lost")
    )
    cause = epoch["cause"].replace("_", " ")
    return f"epoch {epoch['number']} ({cause} {epoch['began_at']}): {figures}"


async def _get(client: httpx.AsyncClient, instance: Instance, service: str, path: str) -> Any:
    url = f"{instance.url(service)}{path}"
    try:
        answer = await client.get(url)
    except httpx.HTTPError as error:
        raise CannotStart(f"{service} does not answer at {url}: {error!r}") from None
    if answer.is_error:
        raise CannotStart(f"{service} answers {answer.status_code} at {url}: {answer.text[:200]}")
    return answer.json()
