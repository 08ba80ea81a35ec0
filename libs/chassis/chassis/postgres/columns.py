"""Array parameters of statements that read rows from `unnest`."""

from collections.abc import Sequence
from typing import Any


def columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Return rows as one list for each column, in the order of `unnest`'s parameters."""
    return [list(column) for column in zip(*rows, strict=True)]
