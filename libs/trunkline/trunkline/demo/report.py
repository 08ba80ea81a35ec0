"""How the day ended: figures, and the verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trunkline.audit import Balance
from trunkline.demo.day import CHANNELS
from trunkline.demo.progress import Scene, Ticket


@dataclass(frozen=True)
class Ending:
    """What is left of the day: everything seen, the ledger, and what customers have received."""

    scene: Scene
    balance: Balance
    delivered: int
    """How many deliveries customers made."""
    received: Counter[str]
    """What arrived in the outside world, by channel."""

    @property
    def faults(self) -> list[str]:
        """What is not as it should be at the end of a day."""
        faults = list(self.balance.faults)
        if left := sum(ticket.open for ticket in self.scene.opened):
            faults.append(f"{left} requests are still open")
        if (opened := self.balance.ledger["outcomes"].get("opened", 0)) != len(self.scene.opened):
            faults.append(f"{opened} requests were opened, {len(self.scene.opened)} are known")
        if (accepted := self.balance.ledger["accepted"]) != self.delivered:
            faults.append(f"{self.delivered} deliveries were made, {accepted} are in the ledger")
        counts = self.scene.counts
        if counts["message_sent"] != counts["reply_sent"]:
            told = f"{counts['reply_sent']} answers, {counts['message_sent']} of them sent"
            faults.append(told)
        if parked := sum(self.balance.parked.values()):
            faults.append(f"{parked} facts are parked")
        return faults

    def shown(self) -> RenderableType:
        """Give it for people."""
        return Group(self._channels(), self._rest(), Text(self.balance.text()), Text(self.verdict))

    @property
    def verdict(self) -> str:
        """Give the last line."""
        if self.faults:
            return "NOT AS IT SHOULD BE: " + "; ".join(self.faults)
        return "everything is closed, and the ledger balances"

    def _channels(self) -> Table:
        table = Table(title="requests")
        for name in ("channel", "requests", "first answer", "longest", "breached", "sent out"):
            table.add_column(name, justify="left" if name == "channel" else "right")
        for channel in CHANNELS:
            of_it = [ticket for ticket in self.scene.opened if ticket.channel == channel]
            sent = str(self.received[channel]) if channel != "api" else "(fetched)"
            table.add_row(channel, *_figures(of_it), sent)
        table.add_row("all", *_figures(self.scene.opened), "", style="bold")
        return table

    def _rest(self) -> Text:
        counts, told = self.scene.counts, self.scene.notified
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(told.items()))
        answers = f"{counts['reply_sent']} answers, {counts['message_sent']} delivered"
        return Text(
            f"{answers}, {counts['message_failed']} not; {counts['note_added']} notes\n"
            f"{counts['target_breached']} promise broken, {counts['target_met']} kept, "
            f"{counts['target_warned']} warnings\n"
            f"{told.total()} notifications: {kinds}\n"
        )


def _figures(tickets: list[Ticket]) -> tuple[str, str, str, str]:
    waits = [ticket.waited for ticket in tickets if ticket.waited is not None]
    half, longest = (f"{median(waits):.1f} s", f"{max(waits):.1f} s") if waits else ("-", "-")
    breached = sum(len(ticket.breached) for ticket in tickets)
    return str(len(tickets)), half, longest, str(breached or "-")
