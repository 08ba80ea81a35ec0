"""Epochs of an outbox, which keep fact ids unique after a restore of PostgreSQL.

A restore to an older state loses facts that subscribers have seen. New facts reuse their positions
and sequences; the epoch in their ids distinguishes them.
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
        """Load the epochs from the schema in the search path."""
        return cls(await (await conn.execute(EPOCHS)).fetchall())

    def at(self, position: int) -> int:
        """Return the epoch of a position; 0 before the first epoch."""
        return next((epoch for first, epoch in self._rows if first <= position), 0)
