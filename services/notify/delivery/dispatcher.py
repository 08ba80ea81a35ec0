"""The message dispatcher: claim messages of the send ledger, attempt them, record the results.

Any number of replicas may run it. A claim is committed before the attempt, the result after it;
only a crash between the two can cause a duplicate, and that carries the same id. Recording is
retried while PostgreSQL is unavailable. A replica that stops records the attempts it has begun.
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
"""Concurrent attempts through one account; a slow account does not delay the others."""
POLL_INTERVAL_S = 0.5
"""Seconds between two polls: for messages of other replicas, and for retries that are due."""

DRAIN_TIMEOUT_S = 5.0
"""Seconds for attempts to end and be recorded; less than the time a service has to stop."""

STUCK_AFTER_S = 10.0
"""Seconds without progress after which this replica is reported as not healthy."""

attempts_made = counter("send_attempts_total", "Attempts to send", "channel", "outcome")

DATABASE_UNAVAILABLE = (*TRANSIENT, PoolTimeout)
INVALID_VALUE_CLASSES = frozenset({"22", "23", "54"})
"""SQLSTATE classes of errors about a value: data, integrity, program limit exceeded."""


class MessageDispatcher:
    """Dispatches messages on this replica, until they are settled."""

    def __init__(
        self,
        service: Service,
        accounts: Accounts,
        egress: EgressPolicy,
        *,
        resend: bool,
        lease: float,
    ) -> None:
        self._service = service
        self._accounts = accounts
        self._egress = egress
        self._resend = resend
        self._lease = lease
        self._wake = asyncio.Event()
        self._pending = 0
        self._is_any_account_full = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: Counter[tuple[str, str]] = Counter()
        self._results: list[AttemptResult] = []
        self._has_results = asyncio.Event()
        self._polled_at = time.monotonic()
        service.on_commit(self._on_commit)
        service.health.add("sender", self._health)

    def _health(self) -> str | None:
        now = time.monotonic()
        silent = now - self._polled_at
        if silent > STUCK_AFTER_S:
            return f"no progress for {silent:.0f} s"
        waited = now - min((each.finished_at for each in self._results), default=now)
        return f"an outcome is not recorded for {waited:.0f} s" if waited > STUCK_AFTER_S else None

    def notify_pending(self, messages: int) -> None:
        """Poll at once when the transaction that enqueues these messages is committed."""
        self._pending += messages

    def _on_commit(self) -> None:
        if self._pending:
            self._wake.set()

    async def run(self) -> None:
        """Dispatch until cancelled, then end the attempts that were begun."""
        transport = Transport(HttpClient(), self._egress)
        recorder = asyncio.create_task(self._record())
        try:
            while not recorder.done():
                await self._start_attempts(transport)
                await self._wait()
            recorder.result()
        finally:
            recorder.cancel()
            await self._drain()
            await transport.http.aclose()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(POLL_INTERVAL_S):
                await self._wake.wait()
        except TimeoutError:
            self._pending = 0
        self._wake.clear()

    async def _drain(self) -> None:
        """Record attempts as they end; another replica repeats those that do not end in time."""
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await self._record_results()
                while self._tasks:
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                    await self._record_results()
        except TimeoutError:
            log.warning(
                "%d attempts did not end in time; another replica repeats them", len(self._tasks)
            )
        finally:
            for task in self._tasks:
                task.cancel()

    async def _start_attempts(self, transport: Transport) -> None:
        """Claim messages up to the limit of each account, and start their attempts."""
        claimed_at = time.monotonic()
        claiming = asyncio.ensure_future(self._claim())
        try:
            attempts = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # Without this, messages claimed by now would wait for the end of their leases.
            self._results += [_returned(each) for each in await claiming]
            raise
        except DATABASE_UNAVAILABLE as error:
            log.warning("no message can be claimed: %s", type(error).__name__)
            return
        self._polled_at = claimed_at
        self._pending = max(0, self._pending - sum(a.attempts == 1 for a in attempts))
        self._under_way.update((each.channel, each.account) for each in attempts)
        self._is_any_account_full = any(
            number >= MAX_ATTEMPTS_PER_ACCOUNT for number in self._under_way.values()
        )
        for attempt in attempts:
            task = asyncio.create_task(self._attempt(transport, attempt, claimed_at))
            self._tasks.add(task)
            task.add_done_callback(partial(self._on_end, attempt))

    async def _claim(self) -> list[ClaimedMessage]:
        async with self._service.single() as tx:
            return await queue.claim(tx, MAX_ATTEMPTS_PER_ACCOUNT, self._under_way, self._lease)

    def _on_end(self, attempt: ClaimedMessage, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._under_way[attempt.channel, attempt.account] -= 1

    async def _attempt(
        self, transport: Transport, attempt: ClaimedMessage, claimed_at: float
    ) -> None:
        # An attempt that starts too late would outlast its lease, and run twice.
        latest = max(self._lease - attempt_timeout(attempt.channel), self._lease / 5)
        if time.monotonic() - claimed_at > latest:
            log.warning("an attempt was dropped because this replica was frozen; it is repeated")
            self._results.append(_returned(attempt))
            self._has_results.set()
            return
        with continued(attempt.traceparent, "send", kind=SpanKind.CLIENT):
            outcome = await self._outcome(transport, attempt)
        kind = type(outcome).__name__.lower()
        attempts_made.labels("notify", attempt.channel, kind).inc()
        suspended_s = None
        if isinstance(outcome, Retry) and outcome.account_suspended:
            suspended_s = CREDENTIAL_PAUSE_S if outcome.after is None else outcome.after
            log.error(
                "account %s/%s is suspended: %s", attempt.channel, attempt.account, outcome.reason
            )
        resend = self._resends(attempt)
        step = next_step(
            outcome,
            attempt.attempts,
            attempt.age,
            resend=resend,
            possible_duplicates=attempt.possible_duplicates,
        )
        self._results.append(AttemptResult(attempt, step, suspended_s, time.monotonic()))
        self._has_results.set()

    def _resends(self, attempt: ClaimedMessage) -> bool:
        """Return whether to resend after an unknown outcome; acknowledgements never are."""
        return self._resend and attempt.kind != ACKNOWLEDGEMENT

    async def _outcome(self, transport: Transport, attempt: ClaimedMessage) -> Outcome:
        if attempt.abandoned and not self._resends(attempt):
            return Unknown("a replica ended during the attempt")
        try:
            account = self._accounts.account(attempt.channel, attempt.account)
            return await SENDERS[attempt.channel](transport, account, attempt)
        except NoAccount as error:
            return Retry(str(error), CREDENTIAL_PAUSE_S, account_suspended=True)
        except Exception as error:
            log.warning("an attempt failed unexpectedly", exc_info=error)
            return Unknown(f"failed unexpectedly: {type(error).__name__}")

    async def _record(self) -> None:
        while True:
            await self._has_results.wait()
            await self._record_results()
            if (
                self._pending or self._is_any_account_full
            ):  # an account has room for another attempt
                self._wake.set()

    async def _record_results(self) -> None:
        """Record all results so far; retry while the database is unavailable."""
        pause = 0.05
        while results := list(self._results):
            self._has_results.clear()
            try:
                await self._save(results)
                del self._results[: len(results)]
            except Exception as error:  # noqa: BLE001 (no result is ever dropped)
                log.warning("results are not recorded: %s", type(error).__name__)
                if not _is_permanent(error) or not await self._save_each(results):
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 1.0)

    async def _save(self, results: list[AttemptResult]) -> None:
        async with self._service.transaction() as tx:
            settled = await queue.settle(tx, results)
            await suppressions.suppress(tx, _refused_addresses(settled))
            for result in settled:
                if (fact := _outcome_fact(result, tx.now)) is not None:
                    tx.record(fact)

    async def _save_each(self, results: list[AttemptResult]) -> bool:
        """Record results one by one, so that one that cannot be stored delays no other.

        A result that cannot be stored as it is, is stored without the platform's texts. Returns
        whether all are recorded; the rest are tried again after the others.
        """
        left = []
        for result in results:
            for form in (result, result.without_external_text()):
                try:
                    await self._save([form])
                except Exception as error:  # noqa: BLE001 (the others must not wait for it)
                    log.warning("a result is not recorded: %s", type(error).__name__)
                    if not _is_permanent(error):
                        return False  # the database is unavailable: all are tried again later
                else:
                    break
            else:
                left.append(result)
            self._results.remove(result)
        self._results += left
        return not left


def _returned(attempt: ClaimedMessage) -> AttemptResult:
    """Return the result of an attempt that was not made, so that its message is due again."""
    return AttemptResult(attempt, NextStep("intended", 0.0), None, time.monotonic())


def _is_permanent(error: Exception) -> bool:
    """Return whether an error is about the values to record, so that a retry cannot succeed."""
    state = getattr(error, "sqlstate", None) or ""
    return not isinstance(error, DATABASE_UNAVAILABLE) or state[:2] in INVALID_VALUE_CLASSES


def _refused_addresses(results: Sequence[AttemptResult]) -> dict[str, str]:
    """Return the addresses that accept no message, each with the reason."""
    return {
        mail_address(each.attempt.address): each.next.reason or "refused"
        for each in results
        if each.next.permanent and each.attempt.address
    }


def _outcome_fact(result: AttemptResult, now: datetime) -> Fact | None:
    """Return the fact about the state of a message or acknowledgement; None while it is open."""
    attempt, step = result.attempt, result.next
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
