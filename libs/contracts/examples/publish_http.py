"""Post a customer's message on a channel of your own over HTTP, with a signature.

Needs httpx and standardwebhooks. It is safe to repeat: the same `id` is the same message.
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
response = httpx.post(f"{os.environ['INGEST']}/channels/custom/acme", content=body, headers=headers)
print(response.raise_for_status().json()["inbound_id"])
