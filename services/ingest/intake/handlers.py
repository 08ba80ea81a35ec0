"""Apply deliveries and facts of tickets: load, decide, save."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import get_args

from chassis.messaging.message import StreamMessage
from chassis.messaging.reader import BACKGROUND_INTERVAL_S, Reader
from chassis.messaging.transaction import Tx
from chassis.service import Service
from ingest.audit.queries import RECORD_FOREIGN
from ingest.bans.store import BanCache
from ingest.channels.email.mailbox import Mailbox
from ingest.channels.email.parser_pool import ParserPool
from ingest.domain.batch_entry import Outcome
from ingest.domain.field_rules import Rules
from ingest.domain.intake_batch import IntakeBatch
from ingest.domain.message_intake import process, promote_edits
from ingest.domain.ticket_facts import TicketFact, apply_facts
from ingest.envelope import Delivery
from ingest.intake import message_update_store, store
from ingest.intake.delivery_parser import DeliveryParser, entries_of, is_mail, parked_entry

log = logging.getLogger(__name__)

MAX_PARSE_WAIT_S = 1.0
"""After this time the parsed mails of a batch are processed without the others."""
EXPIRY_INTERVAL_S = 60


class IntakeHandlers:
    """The handlers of ingest's readers.

    E-mail has a reader of its own, so that a mail that takes long to parse delays no other channel.
    """

    def __init__(
        self,
        rules: Callable[[int], Rules],
        pool: ParserPool,
        mailboxes: Callable[[str], Mailbox | None],
        bans: BanCache,
    ) -> None:
        self._rules = rules
        self._parser = DeliveryParser(pool, mailboxes)
        self._bans = bans

    def readers(self, epoch: Callable[[], Awaitable[int]] | None = None) -> list[Reader]:
        """Return the readers: deliveries without e-mail, e-mail, and facts of tickets.

        `epoch` returns the number of INBOUND's present epoch.
        """
        return [
            Reader(
                "INBOUND",
                self.on_deliveries,
                is_own=lambda message: not is_mail(message),
                parse=self._parser.parse,
                assemble_chunks=True,
                on_park=self.on_parked,
                on_foreign=self.on_foreign,
                epoch=epoch,
            ),
            Reader(
                "INBOUND",
                self.on_deliveries,
                name="mail",
                subjects="inbound.email.*",
                is_own=is_mail,
                parse=self._parser.parse,
                parse_timeout=MAX_PARSE_WAIT_S,
                assemble_chunks=True,
                on_park=self.on_parked,
                on_foreign=self.on_foreign,
                epoch=epoch,
            ),
            Reader(
                "TICKETS",
                self.on_ticket_facts,
                consumes=frozenset(get_args(TicketFact)),
                batch_interval=BACKGROUND_INTERVAL_S,
            ),
        ]

    async def on_deliveries(self, tx: Tx, deliveries: Sequence[Delivery]) -> None:
        """Process a batch: one effect per message, one open request per conversation."""
        rules = self._rules(tx.workspace)
        entries = [entry for delivery in deliveries for entry in entries_of(delivery, rules)]
        batch = await store.load(tx, entries, rules, self._bans)
        process(batch, entries)
        promote_edits(batch, await store.evict_over_limit(tx, batch))
        await store.save(tx, batch)

    async def on_ticket_facts(self, tx: Tx, facts: Sequence[TicketFact]) -> None:
        """Apply requests opened, closed and returned in tickets, and our own messages."""
        loaded = await store.load_ticket_facts(tx, facts, self._rules(tx.workspace))
        if loaded is None:
            return
        batch, conversations = loaded.batch, loaded.conversations
        for orphan in apply_facts(batch, loaded.request_facts, conversations, loaded.authors):
            log.warning("%s without a conversation: %s", orphan.type, orphan.request_id)
        await store.save(tx, batch)
        await self._on_own_messages(tx, loaded)

    async def _on_own_messages(self, tx: Tx, loaded: store.LoadedFacts) -> None:
        """Register messages of our own, and apply the updates that waited for them."""
        updates = await store.load_own_updates(tx, loaded)
        updates.record_own(loaded.message_facts, loaded.conversations, loaded.platform_keys)
        await store.save_updates(tx, updates)

    async def on_parked(self, tx: Tx, message: StreamMessage, reason: str) -> None:
        """Record a parked delivery; the outcome of its redrive replaces this one."""
        entry = parked_entry(message, reason, tx.now)
        batch = IntakeBatch(self._rules(tx.workspace), tx.now)
        batch.outcomes.append(Outcome(entry, "parked", reason=reason))
        await store.save(tx, batch)

    async def on_foreign(self, tx: Tx, message: StreamMessage, epoch: int) -> None:
        """Record a message that is no delivery, so that the ledger does not wait for it."""
        await tx.run(RECORD_FOREIGN, epoch, message.stream_sequence, message.subject)

    async def on_expiry(self, tx: Tx) -> bool:
        """Promote edits whose message did not arrive; return whether there may be more."""
        loaded = await store.load_expired_edits(tx, self._rules(tx.workspace), self._bans)
        if loaded is None:
            return False
        batch, edits = loaded
        promote_edits(batch, edits)
        await store.save(tx, batch)
        return True

    async def run_expiry(self, service: Service) -> None:
        """Expire pending updates once a minute."""
        while True:
            async with service.transaction() as tx:
                await message_update_store.expire(tx)
            more = True
            while more:
                async with service.transaction() as tx:
                    more = await self.on_expiry(tx)
            await asyncio.sleep(EXPIRY_INTERVAL_S)
