"""Customers: each writes by the door of their channel, as its platform would."""

from __future__ import annotations

import asyncio
import json
import time
from email.message import EmailMessage
from typing import Any

import httpx

from chassis.auth.standard_webhooks import sign
from trunkline.demo.day import Customer
from trunkline.demo.desk import Desk
from trunkline.places import CannotStart

SHOP = "shop"
"""The program that uses the API: its token's subject."""
TRIES = 40


async def write(desk: Desk, customer: Customer, began: float) -> int:
    """Write everything at its time; gives how many deliveries were accepted."""
    loop, accepted = asyncio.get_running_loop(), 0
    for turn, (at, text) in enumerate(customer.says):
        await asyncio.sleep(max(0.0, began + at - loop.time()))
        for _ in range(2 if customer.stutters and turn == 0 else 1):
            await _deliver(desk, customer, turn, text)
            accepted += 1
    return accepted


async def _deliver(desk: Desk, customer: Customer, turn: int, text: str) -> None:
    """Deliver as platforms do: again until it was accepted, always under the same id."""
    path, body, headers = DOORS[customer.channel](desk, customer, turn, text)
    for _ in range(TRIES):
        try:
            answer = await desk.http.post(desk.url("ingest", path), content=body, headers=headers)
        except httpx.TransportError:
            await asyncio.sleep(0.3)
            continue
        if answer.is_success:
            return
        if answer.status_code not in {429, 503}:
            break
        await asyncio.sleep(0.3)
    raise CannotStart(f"{path} does not take a message: {answer.status_code} {answer.text}")


Delivery = tuple[str, bytes, dict[str, str]]
JSON = {"content-type": "application/json"}


def telegram(desk: Desk, customer: Customer, turn: int, text: str) -> Delivery:
    """A bot's webhook gets an update."""
    chat, update = 4000 + customer.number, 1000 + 10 * customer.number + turn
    who = {"id": chat, "is_bot": False, "first_name": customer.name}
    message: dict[str, Any] = {"message_id": 100 + turn, "date": int(time.time()), "text": text}
    message |= {"chat": {"id": chat, "type": "private"}, "from": who}
    secret = {"x-telegram-bot-api-secret-token": desk.secrets["TELEGRAM_MAIN_SECRET"]}
    body = json.dumps({"update_id": update, "message": message}).encode()
    return "/channels/telegram/main", body, JSON | secret


def email(desk: Desk, customer: Customer, turn: int, text: str) -> Delivery:
    """A mail server hands over the message as it came."""
    mail = EmailMessage()
    mail["From"] = f"{customer.name} <{customer.name.lower()}.{customer.number}@example.test>"
    mail["To"] = "support@example.test"
    mail["Subject"] = f"{'Re: ' if turn else ''}{customer.says[0][1]}"
    mail["Message-ID"] = _message_id(customer, turn)
    if turn:
        mail["In-Reply-To"] = mail["References"] = _message_id(customer, 0)
    mail.set_content(text)
    secret = {"x-trunkline-secret": desk.secrets["EMAIL_MAIN_SECRET"]}
    return "/channels/email/main", bytes(mail), {"content-type": "message/rfc822"} | secret


def _message_id(customer: Customer, turn: int) -> str:
    return f"<{customer.number}.{turn}@mail.example.test>"


def custom(desk: Desk, customer: Customer, turn: int, text: str) -> Delivery:
    """An integrator signs what its own channel says."""
    id = f"{customer.number}-{turn}"
    contact = {"id": f"c-{customer.number}", "name": customer.name}
    body = json.dumps({"id": id, "text": text, "contact": contact}).encode()
    signed = sign([desk.secrets["CUSTOM_ACME_SECRET"]], id, int(time.time()), body)
    return "/channels/custom/acme", body, JSON | signed


def api(desk: Desk, customer: Customer, turn: int, text: str) -> Delivery:
    """A web shop calls the API."""
    contact = {"id": f"s-{customer.number}", "name": customer.name}
    body = json.dumps({"text": text, "contact": contact, "topic": customer.topic}).encode()
    key = {"idempotency-key": f"{customer.number}.{turn}"}
    return "/v1/requests", body, JSON | key | desk.token("integrator", SHOP)


DOORS = {"telegram": telegram, "email": email, "custom": custom, "api": api}
"""Where each channel's messages come in, in which form, and with what proof."""
