"""Sends what the ledger intends: claim, attempt, record. Any number of replicas may.

Intent is committed before an attempt and the outcome after it; between the two only a crash can
make a duplicate, and it carries the same id. Recording is retried while PostgreSQL is away, and a
replica that is told to stop first records what it has begun. Long: claim, attempt and record are
one loop.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

from opentelemetry.trace import SpanKind
from psycopg_pool import PoolTimeout

from chassis.errors import TRANSIENT
from chassis.observability.metrics import counter
from chassis.observability.tracing import continued
from chassis.service import Service
from notify.configuration import Accounts, NoAccount
from notify.delivery import queue
from notify.delivery.queue import ACKNOWLEDGEMENT, AttemptResult, ClaimedMessage
from notify.domain.outcomes import Outcome, Retry, Unknown
from notify.domain.retry import CREDENTIAL_PAUSE_S, NextStep, next_step
from notify.email import acknowledgements, suppressions
from notify.transport.channels import SENDERS, attempt_timeout
from notify.transport.egress_policy import EgressPolicy
from notify.transport.http_client import HttpClient
from notify.transport.http_post import Transport
from trunkline_contracts import (
    Fact,
    MessageFailed,
    MessageSent,
    NotificationFailed,
    NotificationSent,
)
from trunkline_contracts.addresses import mail_address
from trunkline_contracts.ids import contact_id

log = logging.getLogger(__name__)

MAX_ATTEMPTS_PER_ACCOUNT = 32
"""Attempts through one account; however long they take, they are in no other's way."""
POLL_INTERVAL_S = 0.5
"""How often to look without being told: for what another replica intends, and what is due again."""

DRAIN_TIMEOUT_S = 5.0
"""Seconds for what was begun to end and be recorded; less than a service is given to stop."""

STUCK_AFTER_S = 10.0

attempts_made = counter("send_attempts_total", "Attempts to send", "channel", "outcome")

DATABASE_UNAVAILABLE = (*TRANSIENT, PoolTimeout)
INVALID_VALUE_CLASSES = frozenset({"22", "23", "54"})
"""Classes of what PostgreSQL says about a value: data, integrity, program limit exceeded."""


class MessageDispatcher:
    """One replica's hands."""

    def __init__(
        self,
        service: Service,
        accounts: Accounts,
        outward: EgressPolicy,
        *,
        resend: bool,
        lease: float,
    ) -> None:
        self._service = service
        self._accounts = accounts
        self._outward = outward
        self._resend = resend
        self._lease = lease
        self._woken = asyncio.Event()
        self._pending = 0
        self._full = False
        self._busy: set[asyncio.Task[None]] = set()
        self._under_way: Counter[tuple[str, str]] = Counter()
        self._done: list[AttemptResult] = []
        self._settle = asyncio.Event()
        self._looked_at = time.monotonic()
        service.on_commit(self._committed)
        service.health.add("sender", self._health)

    def _health(self) -> str | None:
        now = time.monotonic()
        silent = now - self._looked_at
        if silent > STUCK_AFTER_S:
            return f"no progress for {silent:.0f} s"
        waited = now - min((each.finished_at for each in self._done), default=now)
        return f"an outcome is not recorded for {waited:.0f} s" if waited > STUCK_AFTER_S else None

    def notify_pending(self, messages: int) -> None:
        """Look at once when the transaction that intends these messages is committed."""
        self._pending += messages

    def _committed(self) -> None:
        if self._pending:
            self._woken.set()

    async def run(self) -> None:
        """Send for ever; when told to stop, end what was begun."""
        ways = Transport(HttpClient(), self._outward)
        recorder = asyncio.create_task(self._record())
        try:
            while not recorder.done():
                await self._send(ways)
                await self._rest()
            recorder.result()
        finally:
            recorder.cancel()
            await self._drain()
            await ways.http.aclose()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(POLL_INTERVAL_S):
                await self._woken.wait()
        except TimeoutError:
            self._pending = 0
        self._woken.clear()

    async def _drain(self) -> None:
        """Record what was begun as it ends; what does not end in time is somebody else's again."""
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await self._settled()
                while self._busy:
                    await asyncio.wait(self._busy, return_when=asyncio.FIRST_COMPLETED)
                    await self._settled()
        except TimeoutError:
            log.warning("%d attempts are left to be found out again", len(self._busy))
        finally:
            for task in self._busy:
                task.cancel()

    async def _send(self, ways: Transport) -> None:
        """Claim as much as there are hands for."""
        claimed_at = time.monotonic()
        claiming = asyncio.ensure_future(self._claim())
        try:
            attempts = await asyncio.shield(claiming)
        except asyncio.CancelledError:  # what is claimed by now is nobody's for as long as a lease
            self._done += [_returned(each) for each in await claiming]
            raise
        except DATABASE_UNAVAILABLE as why:
            log.warning("nothing can be claimed: %s", type(why).__name__)
            return
        self._looked_at = claimed_at
        self._pending = max(0, self._pending - sum(a.attempts == 1 for a in attempts))
        self._under_way.update((each.channel, each.account) for each in attempts)
        self._full = any(number >= MAX_ATTEMPTS_PER_ACCOUNT for number in self._under_way.values())
        for attempt in attempts:
            task = asyncio.create_task(self._attempt(ways, attempt, claimed_at))
            self._busy.add(task)
            task.add_done_callback(partial(self._ended, attempt))

    async def _claim(self) -> list[ClaimedMessage]:
        async with self._service.single() as tx:
            return await queue.claim(tx, MAX_ATTEMPTS_PER_ACCOUNT, self._under_way, self._lease)

    def _ended(self, attempt: ClaimedMessage, task: asyncio.Task[None]) -> None:
        self._busy.discard(task)
        self._under_way[attempt.channel, attempt.account] -= 1

    async def _attempt(self, ways: Transport, attempt: ClaimedMessage, claimed_at: float) -> None:
        # an attempt that begins too late would still go on when its lease is somebody else's
        latest = max(self._lease - attempt_timeout(attempt.channel), self._lease / 5)
        if time.monotonic() - claimed_at > latest:
            log.warning("an attempt was left: this replica was frozen; another will make it")
            self._done.append(_returned(attempt))
            self._settle.set()
            return
        with continued(attempt.traceparent, "send", kind=SpanKind.CLIENT):
            outcome = await self._outcome(ways, attempt)
        kind = type(outcome).__name__.lower()
        attempts_made.labels("notify", attempt.channel, kind).inc()
        shut = None
        if isinstance(outcome, Retry) and outcome.account_suspended:
            shut = CREDENTIAL_PAUSE_S if outcome.after is None else outcome.after
            log.error("%s/%s is shut: %s", attempt.channel, attempt.account, outcome.reason)
        resend = self._resends(attempt)
        step = next_step(
            outcome,
            attempt.attempts,
            attempt.age,
            resend=resend,
            possible_duplicates=attempt.possible_duplicates,
        )
        self._done.append(AttemptResult(attempt, step, shut, time.monotonic()))
        self._settle.set()

    def _resends(self, attempt: ClaimedMessage) -> bool:
        """Nobody misses an acknowledgement as they miss an answer; two are one too many."""
        return self._resend and attempt.kind != ACKNOWLEDGEMENT

    async def _outcome(self, ways: Transport, attempt: ClaimedMessage) -> Outcome:
        if attempt.abandoned and not self._resends(attempt):
            return Unknown("a replica ended while it was sending this")
        try:
            account = self._accounts.account(attempt.channel, attempt.account)
            return await SENDERS[attempt.channel](ways, account, attempt)
        except NoAccount as why:
            return Retry(str(why), CREDENTIAL_PAUSE_S, account_suspended=True)
        except Exception as why:
            log.warning("an attempt broke", exc_info=why)
            return Unknown(f"broke: {type(why).__name__}")

    async def _record(self) -> None:
        while True:
            await self._settle.wait()
            await self._settled()
            if self._pending or self._full:  # there are hands again, or a turn has come
                self._woken.set()

    async def _settled(self) -> None:
        """Record what was found out so far; wait for the database if need be."""
        pause = 0.05
        while verdicts := list(self._done):
            self._settle.clear()
            try:
                await self._settle_all(verdicts)
                del self._done[: len(verdicts)]
            except Exception as why:  # noqa: BLE001 (nothing that was found out is ever dropped)
                log.warning("outcomes are not recorded: %s", type(why).__name__)
                if not _is_permanent(why) or not await self._each(verdicts):
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 1.0)

    async def _settle_all(self, verdicts: list[AttemptResult]) -> None:
        async with self._service.transaction() as tx:
            counted = await queue.settle(tx, verdicts)
            await suppressions.suppress(tx, _refused_addresses(counted))
            for verdict in counted:
                if (fact := _outcome_fact(verdict, tx.now)) is not None:
                    tx.say(fact)

    async def _each(self, verdicts: list[AttemptResult]) -> bool:
        """Record one by one, so that one that cannot be kept as it is holds up no other.

        Tells whether all are recorded; what is not is tried again after the others.
        """
        left = []
        for verdict in verdicts:
            for form in (verdict, verdict.without_external_text()):
                try:
                    await self._settle_all([form])
                except Exception as why:  # noqa: BLE001 (the others do not wait for it)
                    log.warning("an outcome is not recorded: %s", type(why).__name__)
                    if not _is_permanent(why):
                        return False  # the database is away: all of them again, later
                else:
                    break
            else:
                left.append(verdict)
            self._done.remove(verdict)
        self._done += left
        return not left


def _returned(attempt: ClaimedMessage) -> AttemptResult:
    """Say of an attempt that it was not made: nobody has to ask what came of it."""
    return AttemptResult(attempt, NextStep("intended", 0.0), None, time.monotonic())


def _is_permanent(why: Exception) -> bool:
    """Whether it is about what was to be recorded, so that it stays however often it is tried."""
    state = getattr(why, "sqlstate", None) or ""
    return not isinstance(why, DATABASE_UNAVAILABLE) or state[:2] in INVALID_VALUE_CLASSES


def _refused_addresses(verdicts: Sequence[AttemptResult]) -> dict[str, str]:
    """Give the addresses that take nothing, each with the reason."""
    return {
        mail_address(each.attempt.address): each.next.reason or "refused"
        for each in verdicts
        if each.next.permanent and each.attempt.address
    }


def _outcome_fact(verdict: AttemptResult, now: datetime) -> Fact | None:
    """Say what became of a message, or of what tells the customer that theirs arrived."""
    attempt, step = verdict.attempt, verdict.next
    common: dict[str, Any] = {
        "time": now,
        "request_id": attempt.request_id,
        "traceparent": attempt.traceparent,
    }
    if attempt.kind == ACKNOWLEDGEMENT:
        customer = contact_id(attempt.channel, attempt.account, attempt.address or attempt.chat)
        common |= {
            "notification_id": attempt.message_id,
            "recipient": str(customer),
            "channel": attempt.channel,
            "kind": acknowledgements.KIND,
        }
        match step.state:
            case "sent":
                return NotificationSent(**common)
            case "failed":
                return NotificationFailed(**common, reason=step.reason or "")
        return None
    common |= {"message_id": attempt.message_id}
    match step.state:
        case "sent":
            return MessageSent(**common, platform_id=step.platform_id)
        case "failed":
            return MessageFailed(**common, reason=step.reason or "")
    return None
