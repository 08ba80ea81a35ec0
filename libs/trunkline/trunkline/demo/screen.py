"""The live screen: queue, operators, requests with their clocks, and the latest facts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rich.console import Console, ConsoleOptions, RenderResult
from rich.layout import Layout
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trunkline.demo.day import Day
from trunkline.demo.progress import Progress, RequestProgress
from trunkline.facts import StreamFact, printable, summary

OPENING_TIME, OPENING_HOURS = timedelta(hours=9), 8
PRESENCE = {"online": "green", "away": "yellow", "busy": "yellow", "offline": "dim"}


class Screen:
    """A renderable of the current progress."""

    def __init__(self, day: Day, progress: Progress) -> None:
        self.day, self.progress = day, progress
        self.began = datetime.now(UTC)

    def clock(self, at: datetime) -> str:
        """Return the simulated time of day: the opening hours are scaled to the demo's duration."""
        part = (at - self.began).total_seconds() / self.day.seconds
        return str(
            timedelta(
                seconds=round(
                    (OPENING_TIME + part * timedelta(hours=OPENING_HOURS)).total_seconds()
                )
            )
        )

    def line(self, fact: StreamFact) -> str:
        """Return one line of the ticker."""
        text = summary(fact.data)
        return f"{self.clock(fact.time):>8}  {fact.name:26} {fact.short_key:8}  {text}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the screen."""
        now = datetime.now(UTC)
        height = options.height or console.height
        head = Layout(self._head(now), size=3)
        ticker, upper = Layout(size=max(6, height // 3)), Layout()
        ticker.update(self._ticker(ticker.size or 6))
        left, right = Layout(ratio=2), Layout(ratio=3)
        left.split_column(Layout(self._operators(), size=6), Layout(self._queue(now, height)))
        right.update(self._requests(now, height))
        upper.split_row(left, right)
        whole = Layout()
        whole.split_column(head, upper, ticker)
        yield whole

    def _head(self, now: datetime) -> Panel:
        progress, counts = self.progress, self.progress.counts
        passed = min(self.day.seconds, (now - self.began).total_seconds())
        row = Table.grid(padding=(0, 2), expand=True)
        row.add_column(no_wrap=True)
        row.add_column(ratio=1)
        row.add_column(no_wrap=True)
        figures = (
            f"{len(progress.opened)} requests · {counts['closed']} closed · "
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
            status = self.progress.presence.get(operator.name, "offline")
            load = self.progress.load(operator.name)
            table.add_row(
                operator.name, Text(status, style=PRESENCE.get(status, "")), "■" * load, str(load)
            )
        return Panel(table, title="operators")

    def _queue(self, now: datetime, height: int) -> Panel:
        table = Table.grid(padding=(0, 1))
        waiting = self.progress.queue
        for request in waiting[:height]:
            waited = (now - (request.opened or now)).total_seconds()
            table.add_row(request.id[:8], request.topic, f"{waited:.1f} s")
        return Panel(table, title=f"queue: {len(waiting)}")

    def _requests(self, now: datetime, height: int) -> Panel:
        table = Table(box=None, expand=True, padding=(0, 1))
        for name, ratio in (
            ("request", None),
            ("channel", None),
            ("status", None),
            ("assignee", None),
        ):
            table.add_column(name, ratio=ratio, no_wrap=True)
        table.add_column("clock", no_wrap=True, justify="right")
        table.add_column("message", ratio=1, no_wrap=True)
        newest = sorted(self.progress.opened, key=lambda t: (t.is_open, t.opened), reverse=True)
        for request in newest[:height]:
            table.add_row(
                request.id[:8], request.channel, request.status, request.assignee or "-",
                _next_deadline(request, now), printable(request.text),
                style="" if request.is_open else "dim",
            )  # fmt: skip
        return Panel(table, title="requests")

    def _ticker(self, height: int) -> Panel:
        lines = [self.line(fact) for fact in list(self.progress.ticker)[-(height - 2) :]]
        text = Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
        return Panel(text, title="facts")


def _next_deadline(request: RequestProgress, now: datetime) -> Text:
    """Return the running clock with the earliest deadline."""
    if request.breached:
        return Text(f"{min(request.breached)} breached", style="bold red")
    if not request.due:
        return Text("met" if request.closed else "", style="green")
    clock, due = min(request.due.items(), key=lambda item: item[1])
    left = (due - now).total_seconds()
    return Text(f"{clock} {left:.1f} s", style="red" if left < 0 else "")
