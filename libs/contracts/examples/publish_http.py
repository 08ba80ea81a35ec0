"""Bring in what a customer wrote on a channel of your own, over HTTP: signed, and safe to repeat.

Needs httpx and standardwebhooks. The same `id` again is the same message.
"""

import json
import os
from datetime import UTC, datetime

import httpx
from standardwebhooks import Webhook

body = json.dumps({"id": "m-1", "text": "Is it ready?", "contact": {"id": "c-7", "name": "Iryna"}})
now = datetime.now(UTC)
headers = {
    "webhook-id": "m-1",
    "webhook-timestamp": str(int(now.timestamp())),
    "webhook-signature": Webhook(os.environ["CUSTOM_ACME_SECRET"]).sign("m-1", now, body),
}
answer = httpx.post(f"{os.environ['INGEST']}/channels/custom/acme", content=body, headers=headers)
print(answer.raise_for_status().json()["inbound_id"])
