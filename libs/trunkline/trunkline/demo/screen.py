"""The live screen: queue, operators, requests with their clocks, and what was said last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rich.console import Console, ConsoleOptions, RenderResult
from rich.layout import Layout
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trunkline.demo.day import Day
from trunkline.demo.progress import Scene, Ticket
from trunkline.facts import Seen, clean, matter

OPENS, HOURS = timedelta(hours=9), 8
PRESENCE = {"online": "green", "away": "yellow", "busy": "yellow", "offline": "dim"}


class Screen:
    """Draws the scene as it is whenever it is asked to."""

    def __init__(self, day: Day, scene: Scene) -> None:
        self.day, self.scene = day, scene
        self.began = datetime.now(UTC)

    def clock(self, at: datetime) -> str:
        """Give the time on the desk's wall, where a whole day is a minute or less."""
        part = (at - self.began).total_seconds() / self.day.seconds
        return str(
            timedelta(seconds=round((OPENS + part * timedelta(hours=HOURS)).total_seconds()))
        )

    def line(self, seen: Seen) -> str:
        """Give one line of the ticker."""
        about = matter(seen.data)
        return f"{self.clock(seen.time):>8}  {seen.name:26} {seen.short:8}  {about}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw."""
        now = datetime.now(UTC)
        height = options.height or console.height
        head = Layout(self._head(now), size=3)
        said, upper = Layout(size=max(6, height // 3)), Layout()
        said.update(self._ticker(said.size or 6))
        left, right = Layout(ratio=2), Layout(ratio=3)
        left.split_column(Layout(self._operators(), size=6), Layout(self._queue(now, height)))
        right.update(self._requests(now, height))
        upper.split_row(left, right)
        whole = Layout()
        whole.split_column(head, upper, said)
        yield whole

    def _head(self, now: datetime) -> Panel:
        scene, counts = self.scene, self.scene.counts
        passed = min(self.day.seconds, (now - self.began).total_seconds())
        row = Table.grid(padding=(0, 2), expand=True)
        row.add_column(no_wrap=True)
        row.add_column(ratio=1)
        row.add_column(no_wrap=True)
        figures = (
            f"{len(scene.opened)} requests · {counts['closed']} closed · "
            f"{counts['reply_sent']} answers · {counts['target_breached']} breached"
        )
        row.add_row(
            Text(self.clock(now), style="bold"),
            ProgressBar(total=self.day.seconds, completed=passed),
            figures,
        )
        return Panel(row, title="a day at a small desk")

    def _operators(self) -> Panel:
        table = Table.grid(padding=(0, 2))
        for operator in self.day.operators:
            status = self.scene.presence.get(operator.name, "offline")
            load = self.scene.load(operator.name)
            table.add_row(
                operator.name, Text(status, style=PRESENCE.get(status, "")), "■" * load, str(load)
            )
        return Panel(table, title="operators")

    def _queue(self, now: datetime, height: int) -> Panel:
        table = Table.grid(padding=(0, 1))
        waiting = self.scene.queue
        for ticket in waiting[:height]:
            waited = (now - (ticket.opened or now)).total_seconds()
            table.add_row(ticket.id[:8], ticket.topic, f"{waited:.1f} s")
        return Panel(table, title=f"queue: {len(waiting)}")

    def _requests(self, now: datetime, height: int) -> Panel:
        table = Table(box=None, expand=True, padding=(0, 1))
        for name, ratio in (("request", None), ("channel", None), ("status", None), ("with", None)):
            table.add_column(name, ratio=ratio, no_wrap=True)
        table.add_column("clock", no_wrap=True, justify="right")
        table.add_column("says", ratio=1, no_wrap=True)
        newest = sorted(self.scene.opened, key=lambda t: (t.open, t.opened), reverse=True)
        for ticket in newest[:height]:
            table.add_row(
                ticket.id[:8], ticket.channel, ticket.status, ticket.assignee or "-",
                _runs(ticket, now), clean(ticket.text), style="" if ticket.open else "dim",
            )  # fmt: skip
        return Panel(table, title="requests")

    def _ticker(self, height: int) -> Panel:
        lines = [self.line(seen) for seen in list(self.scene.ticker)[-(height - 2) :]]
        text = Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
        return Panel(text, title="facts")


def _runs(ticket: Ticket, now: datetime) -> Text:
    """Show the clock that runs out first."""
    if ticket.breached:
        return Text(f"{min(ticket.breached)} broken", style="bold red")
    if not ticket.due:
        return Text("kept" if ticket.closed else "", style="green")
    clock, due = min(ticket.due.items(), key=lambda item: item[1])
    left = (due - now).total_seconds()
    return Text(f"{clock} {left:.1f} s", style="red" if left < 0 else "")
