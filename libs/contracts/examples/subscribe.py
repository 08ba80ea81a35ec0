"""Read the facts of requests, as the subscriber `crm` that the workspace declares.

Needs nats-py and trunkline-contracts. A message that is not acknowledged is delivered again.
"""

import asyncio
import os
from contextlib import suppress

import nats

from trunkline_contracts import Closed, Opened, read


async def main() -> None:
    async with await nats.connect(
        os.environ["NATS_URL"], nkeys_seed=os.environ["CRM_SEED"], inbox_prefix="_INBOX_crm"
    ) as nc:
        subscription = await nc.jetstream().pull_subscribe_bind("crm", "TICKETS")
        while True:
            with suppress(TimeoutError):  # nothing happened for five seconds
                for message in await subscription.fetch(100):
                    match read(message.data):
                        case Opened(request_id=request, title=title):
                            print("opened", request, title, flush=True)
                        case Closed(request_id=request, resolution=resolution):
                            print("closed", request, resolution, flush=True)
                    await message.ack()


asyncio.run(main())
