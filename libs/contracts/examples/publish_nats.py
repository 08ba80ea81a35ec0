"""Send a customer's message on a channel of your own as a NATS request.

Needs nats-py. The reply means that the message is stored. The same `id` is the same message.
"""

import asyncio
import json
import os

import nats

body = {"id": "m-2", "text": "Is it ready?", "contact": {"id": "c-8", "name": "Petro"}}


async def main() -> None:
    async with await nats.connect(
        os.environ["NATS_URL"], nkeys_seed=os.environ["ACME_SEED"], inbox_prefix="_INBOX_acme"
    ) as nc:
        reply = await nc.request("channels.custom.acme", json.dumps(body).encode(), timeout=5)
        print(json.loads(reply.data)["inbound_id"])


asyncio.run(main())
