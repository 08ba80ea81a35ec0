"""Epochs of an outbox: which ids facts get that were recorded after PostgreSQL had lost some.

A restore of PostgreSQL to an older state forgets facts that subscribers have seen. New facts take
over their positions and sequences; the epoch in their ids tells them apart.
"""

from typing import LiteralString

import psycopg

EPOCHS: LiteralString = "SELECT first_position, epoch FROM outbox_epoch ORDER BY epoch DESC"


class Epochs:
    """The epochs of one outbox, newest first."""

    def __init__(self, rows: list[tuple[int, int]] | None = None) -> None:
        self._rows = rows or []

    @classmethod
    async def load(cls, conn: psycopg.AsyncConnection) -> "Epochs":
        """Read them from the schema in the search path."""
        return cls(await (await conn.execute(EPOCHS)).fetchall())

    def at(self, position: int) -> int:
        """Return the epoch in force at a position; 0 before the first."""
        return next((epoch for first, epoch in self._rows if first <= position), 0)
