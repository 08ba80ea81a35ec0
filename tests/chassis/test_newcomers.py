"""A subscriber declared while the server runs gets an account of its own; others stay connected."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from trunkline import paths
from trunkline.provision import Plan, Subscriber, connect_as, provision_streams, write_files
from trunkline.servers import Nats

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_new_subscriber_pulls_after_a_reload(tmp_path: Path, plan: Plan) -> None:
    config = write_files(tmp_path, plan, port=-1, monitor_port=-1)
    creds = tmp_path / "creds"
    more = plan.with_subscribers({"bi": Subscriber(streams=["TICKETS", "SLA"])})
    with Nats(config, tmp_path / "nats") as nats:
        admin = await connect_as("admin", nats.url, creds)
        relay = await connect_as("tickets-relay", nats.url, creds)
        sla = await connect_as("sla", nats.url, creds)
        js = admin.jetstream(timeout=5)
        await provision_streams(js, plan)
        write_files(tmp_path, more, port=-1, monitor_port=-1)
        await asyncio.to_thread(nats.reload)
        await provision_streams(js, more)

        await relay.jetstream(timeout=5).publish("trunkline.tickets.v1.opened.00.k", b"{}")
        bi = await connect_as("bi", nats.url, creds)
        place = await bi.jetstream(timeout=5).pull_subscribe_bind(
            "bi", "TICKETS", inbox_prefix=b"_INBOX_bi."
        )
        (message,) = await place.fetch(1, timeout=5)
        await message.ack_sync(timeout=5)
        left = (await js.consumer_info("TICKETS", "bi")).num_ack_pending
        info = await sla.jetstream(timeout=5).stream_info("TICKETS")
        for client in (bi, sla, relay, admin):
            await client.close()
    paths.remove(tmp_path / "nats")

    assert (message.subject, left) == ("trunkline.tickets.v1.opened.00.k", 0)
    assert info.state.messages == 1
