"""The report at the end of the day: figures and verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trunkline.audit import Balance
from trunkline.demo.day import CHANNELS
from trunkline.demo.progress import Progress, RequestProgress


@dataclass(frozen=True)
class Report:
    """The result of a day: its progress, the ledger, and the messages that customers received."""

    progress: Progress
    balance: Balance
    delivered: int
    """The number of deliveries the customers made."""
    received: Counter[str]
    """The number of messages the sink received, by channel."""

    @property
    def faults(self) -> list[str]:
        """The deviations from the expected end of a day."""
        faults = list(self.balance.faults)
        if left := sum(request.is_open for request in self.progress.opened):
            faults.append(f"{left} requests are still open")
        if (opened := self.balance.ledger["outcomes"].get("opened", 0)) != len(
            self.progress.opened
        ):
            faults.append(f"{opened} requests were opened, {len(self.progress.opened)} are known")
        if (accepted := self.balance.ledger["accepted"]) != self.delivered:
            faults.append(f"{self.delivered} deliveries were made, {accepted} are in the ledger")
        counts = self.progress.counts
        if counts["message_sent"] != counts["reply_sent"]:
            fault = f"{counts['reply_sent']} answers, {counts['message_sent']} of them sent"
            faults.append(fault)
        if parked := sum(self.balance.parked.values()):
            faults.append(f"{parked} facts are parked")
        return faults

    def render(self) -> RenderableType:
        """Return the report for the terminal."""
        return Group(
            self._channels(), self._totals(), Text(self.balance.text()), Text(self.verdict)
        )

    @property
    def verdict(self) -> str:
        """The last line of the report."""
        if self.faults:
            return "FAILED: " + "; ".join(self.faults)
        return "everything is closed, and the ledger balances"

    def _channels(self) -> Table:
        table = Table(title="requests")
        for name in ("channel", "requests", "first answer", "longest", "breached", "sent out"):
            table.add_column(name, justify="left" if name == "channel" else "right")
        for channel in CHANNELS:
            requests = [request for request in self.progress.opened if request.channel == channel]
            sent = str(self.received[channel]) if channel != "api" else "(fetched)"
            table.add_row(channel, *_figures(requests), sent)
        table.add_row("all", *_figures(self.progress.opened), "", style="bold")
        return table

    def _totals(self) -> Text:
        counts, notified = self.progress.counts, self.progress.notified
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(notified.items()))
        answers = f"{counts['reply_sent']} answers, {counts['message_sent']} delivered"
        return Text(
            f"{answers}, {counts['message_failed']} not; {counts['note_added']} notes\n"
            f"{counts['target_breached']} target breached, {counts['target_met']} met, "
            f"{counts['target_warned']} warnings\n"
            f"{notified.total()} notifications: {kinds}\n"
        )


def _figures(requests: list[RequestProgress]) -> tuple[str, str, str, str]:
    waits = [request.first_answer_s for request in requests if request.first_answer_s is not None]
    middle, longest = (f"{median(waits):.1f} s", f"{max(waits):.1f} s") if waits else ("-", "-")
    breached = sum(len(request.breached) for request in requests)
    return str(len(requests)), middle, longest, str(breached or "-")
