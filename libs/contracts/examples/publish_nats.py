"""Bring in what a customer wrote on a channel of your own, over NATS: answered when it is stored.

Needs nats-py. The same `id` again is the same message.
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
        answer = await nc.request("channels.custom.acme", json.dumps(body).encode(), timeout=5)
        print(json.loads(answer.data)["inbound_id"])


asyncio.run(main())
