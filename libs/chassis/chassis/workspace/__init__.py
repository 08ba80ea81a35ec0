"""The workspace: configuration as one document, applied whole, versioned, followed by everybody."""

from chassis.workspace.checks import check, vanished
from chassis.workspace.document import Workspace
from chassis.workspace.following import Workspaces
from chassis.workspace.publishing import Conflict, apply, newest
from chassis.workspace.reading import Invalid, diff, load, parse

__all__ = [
    "Conflict",
    "Invalid",
    "Workspace",
    "Workspaces",
    "apply",
    "check",
    "diff",
    "load",
    "newest",
    "parse",
    "vanished",
]
