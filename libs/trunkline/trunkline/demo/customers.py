"""Simulated customers: each message is delivered as the platform of its channel would."""

from __future__ import annotations

import asyncio
import json
import time
from email.message import EmailMessage
from typing import Any

import httpx

from chassis.auth.standard_webhooks import sign
from trunkline.demo.client import Client
from trunkline.demo.day import Customer
from trunkline.paths import CannotStart

SHOP_SUBJECT = "shop"
"""Subject of the token of the web shop, which uses the API."""
MAX_TRIES = 40


async def send_messages(client: Client, customer: Customer, began: float) -> int:
    """Send every message at its time; return the number of accepted deliveries."""
    loop, accepted = asyncio.get_running_loop(), 0
    for turn, (at, text) in enumerate(customer.messages):
        await asyncio.sleep(max(0.0, began + at - loop.time()))
        for _ in range(2 if customer.is_redelivered and turn == 0 else 1):
            await _deliver(client, customer, turn, text)
            accepted += 1
    return accepted


async def _deliver(client: Client, customer: Customer, turn: int, text: str) -> None:
    """Deliver as platforms do: repeat under the same id until it is accepted."""
    path, body, headers = BUILDERS[customer.channel](client, customer, turn, text)
    for _ in range(MAX_TRIES):
        try:
            answer = await client.http.post(
                client.url("ingest", path), content=body, headers=headers
            )
        except httpx.TransportError:
            await asyncio.sleep(0.3)
            continue
        if answer.is_success:
            return
        if answer.status_code not in {429, 503}:
            break
        await asyncio.sleep(0.3)
    raise CannotStart(f"{path} does not accept a message: {answer.status_code} {answer.text}")


Delivery = tuple[str, bytes, dict[str, str]]
JSON = {"content-type": "application/json"}


def telegram(client: Client, customer: Customer, turn: int, text: str) -> Delivery:
    """Build an update of a Telegram bot."""
    chat, update = 4000 + customer.number, 1000 + 10 * customer.number + turn
    sender = {"id": chat, "is_bot": False, "first_name": customer.name}
    message: dict[str, Any] = {"message_id": 100 + turn, "date": int(time.time()), "text": text}
    message |= {"chat": {"id": chat, "type": "private"}, "from": sender}
    secret = {"x-telegram-bot-api-secret-token": client.secrets["TELEGRAM_MAIN_SECRET"]}
    body = json.dumps({"update_id": update, "message": message}).encode()
    return "/channels/telegram/main", body, JSON | secret


def email(client: Client, customer: Customer, turn: int, text: str) -> Delivery:
    """Build an e-mail as a mail server posts it."""
    mail = EmailMessage()
    mail["From"] = f"{customer.name} <{customer.name.lower()}.{customer.number}@example.test>"
    mail["To"] = "support@example.test"
    mail["Subject"] = f"{'Re: ' if turn else ''}{customer.messages[0][1]}"
    mail["Message-ID"] = _message_id(customer, turn)
    if turn:
        mail["In-Reply-To"] = mail["References"] = _message_id(customer, 0)
    mail.set_content(text)
    secret = {"x-trunkline-secret": client.secrets["EMAIL_MAIN_SECRET"]}
    return "/channels/email/main", bytes(mail), {"content-type": "message/rfc822"} | secret


def _message_id(customer: Customer, turn: int) -> str:
    return f"<{customer.number}.{turn}@mail.example.test>"


def custom(client: Client, customer: Customer, turn: int, text: str) -> Delivery:
    """Build a signed message of a custom channel."""
    id = f"{customer.number}-{turn}"
    contact = {"id": f"c-{customer.number}", "name": customer.name}
    body = json.dumps({"id": id, "text": text, "contact": contact}).encode()
    signed = sign([client.secrets["CUSTOM_ACME_SECRET"]], id, int(time.time()), body)
    return "/channels/custom/acme", body, JSON | signed


def api(client: Client, customer: Customer, turn: int, text: str) -> Delivery:
    """Build a request of a web shop to the HTTP API."""
    contact = {"id": f"s-{customer.number}", "name": customer.name}
    body = json.dumps({"text": text, "contact": contact, "topic": customer.topic}).encode()
    key = {"idempotency-key": f"{customer.number}.{turn}"}
    return "/v1/requests", body, JSON | key | client.authorization("integrator", SHOP_SUBJECT)


BUILDERS = {"telegram": telegram, "email": email, "custom": custom, "api": api}
"""The builder of each channel: path, body and headers of a delivery."""
