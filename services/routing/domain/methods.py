"""Methods: how a group chooses between eligible operators."""

from collections.abc import Callable, Mapping
from typing import Any

from routing.domain.model import Operator

Score = tuple[Any, ...]
"""The rank of an operator; the lowest one is chosen."""


def default(op: Operator) -> Score:
    """Rank by fewest dialogs, then by the earliest end of the last dialog."""
    return (op.load, op.last_closed, op.last_assigned, op.id)


def by_number_of_dialogs(op: Operator) -> Score:
    """Rank by fewest dialogs; operators with equal loads take turns."""
    return (op.load, op.last_assigned, op.id)


def by_date_of_last_dialog(op: Operator) -> Score:
    """Rank by the earliest start of the last dialog, whatever the load."""
    return (op.last_assigned, op.id)


def longest_idle(op: Operator) -> Score:
    """Rank by the longest time since the last assignment or close."""
    return (max(op.last_assigned, op.last_closed), op.load, op.id)


METHODS: Mapping[str, Callable[[Operator], Score]] = {
    "default": default,
    "by_number_of_dialogs": by_number_of_dialogs,
    "by_date_of_last_dialog": by_date_of_last_dialog,
    "longest_idle": longest_idle,
}
"""The methods by their names in the workspace. An assignment never lowers an operator's score."""
