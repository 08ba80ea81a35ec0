"""Which role may use which address: DESIGN's roles table, address by address.

A row names, for each role, whether it reaches an address: `all` for everybody's things, `own` for
its own only, `-` not at all. `tests/services/test_roles.py` tries every row with every role.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLES = ("operator", "light_agent", "supervisor", "administrator", "integrator", "analyst")
SUBJECTS = {"operator": "anna", "light_agent": "bohdan", "integrator": "acme"}
"""Who holds a role and owns the thing that is asked for; others are called by their role."""
STRANGER = "zoe"
"""Who holds a role of `SUBJECTS` and has nothing to do with the thing."""
SERVICES = ("ingest", "routing", "tickets", "sla", "notify")


@dataclass(frozen=True)
class Row:
    """An address, what each role may do there, and a request that would succeed."""

    service: str
    method: str
    path: str
    grants: tuple[str, ...]
    body: Any = None
    query: str = ""
    listed: str = ""
    """The thing that a list of what the caller may see must hold; empty: it is no list."""
    absent: tuple[int, ...] = ()
    """Statuses besides 403 by which another's thing is kept secret."""
    missing: bool = False
    """Whether there is no such thing in the test: 404 then means that the role was let through."""
    waits: bool = False
    """Whether it is asked about the request that waits for finance, not the one anna holds."""
    subjects: Mapping[str, str] = field(default_factory=dict)
    """Who owns it, where that is somebody else than usual."""

    @property
    def name(self) -> str:
        """Return how the row is called in a failure."""
        return f"{self.service} {self.method} {self.path}"

    def stranger(self, role: str) -> str:
        """Return who holds the role and has nothing to do with the thing."""
        return STRANGER if role in SUBJECTS else f"{role}-2"

    def owner(self, role: str) -> str:
        """Return who holds the role and owns the thing."""
        return {**SUBJECTS, **self.subjects}.get(role, role)


#             operator light supervisor administrator integrator analyst
READS = ("own", "own", "all", "all", "-", "all")
READS_OWN_API = ("own", "own", "all", "all", "own", "all")
WORKS = ("own", "-", "all", "all", "-", "-")
OPENS = ("all", "-", "all", "all", "-", "-")
NOTES = ("own", "own", "all", "all", "-", "-")
BELL = ("own", "own", "all", "all", "-", "-")
SEES = ("all", "all", "all", "all", "-", "all")
AUDITS = ("-", "-", "all", "all", "-", "all")
COMMANDS = ("-", "-", "all", "all", "-", "-")
LEDGER = ("-", "-", "all", "all", "own", "-")
HOOKS = ("-", "-", "-", "all", "own", "-")
SUBMITS = ("all", "-", "all", "all", "all", "-")

PUBLIC = "public"
"""Answers everybody: health, figures, documents, a page's form."""
SECRET = "secret"
"""Opened by an account's secret or signature; a token of any role opens nothing."""

R = "/v1/requests/{request_id}"
HOOK = {"integrator": "audit"}
FINANCE = {"operator": "olena", "light_agent": "olena"}
"""Owns what waits in the group `finance`."""


def _everywhere(service: str) -> list[Row]:
    parked = "/v1/parked/{parked_id}"
    return [
        Row(service, "GET", "/v1/parked", COMMANDS),
        Row(service, "POST", f"{parked}/redrive", COMMANDS, missing=True),
        Row(service, "POST", f"{parked}/skip", COMMANDS, missing=True),
    ]


ROWS = [
    *(row for name in SERVICES for row in _everywhere(name)),
    Row("ingest", "GET", "/v1/inbound/{inbound_id}", LEDGER, absent=(404,)),
    Row("ingest", "GET", "/v1/ledger", LEDGER, query="?channel=api", listed="acme"),
    Row("ingest", "POST", "/v1/ledger/losses", COMMANDS, {"lost": 0, "reason": "none"}),
    Row("ingest", "GET", "/v1/bans", COMMANDS),
    Row("ingest", "PUT", "/v1/bans/{contact}", COMMANDS, {"reason": "spam"}),
    Row("ingest", "GET", "/v1/bans/{contact}", COMMANDS),
    Row("ingest", "DELETE", "/v1/bans/{contact}", COMMANDS),
    Row("ingest", "POST", "/v1/requests", SUBMITS, {"text": "hi", "contact": {"id": "c-2"}}),
    Row("routing", "GET", "/v1/operators", SEES),
    Row("routing", "GET", "/v1/operators/{operator}", SEES),
    Row("routing", "PUT", "/v1/operators/{operator}/presence", BELL, {"status": "online"}),
    Row("routing", "GET", "/v1/queue", READS, listed="{waiting}", subjects=FINANCE),
    Row("routing", "GET", "/v1/queue/{request_id}", READS, waits=True, subjects=FINANCE),
    Row("routing", "POST", f"{R}/claim", WORKS, {"operator": "olena"},
        waits=True, subjects=FINANCE),
    Row("routing", "GET", f"{R}/decisions", READS),
    Row("routing", "GET", "/v1/audit", AUDITS),
    Row("tickets", "GET", "/v1/requests", READS_OWN_API, listed="{request_id}"),
    Row("tickets", "GET", R, READS_OWN_API),
    Row("tickets", "GET", f"{R}/messages", READS_OWN_API),
    Row("tickets", "GET", f"{R}/log", READS),
    Row("tickets", "POST", "/v1/requests", OPENS,
        {"type": "ticket", "description": "hi", "contact": {"email": "a@example.test"}}),
    Row("tickets", "POST", f"{R}/reply", WORKS, {"text": "hi"}),
    Row("tickets", "POST", f"{R}/note", NOTES, {"text": "hi"}),
    Row("tickets", "POST", f"{R}/title", WORKS, {"title": "hi"}),
    Row("tickets", "POST", f"{R}/topic", WORKS, {"topic": "general"}),
    Row("tickets", "POST", f"{R}/priority", WORKS, {"priority": "high"}),
    Row("tickets", "POST", f"{R}/fields", WORKS, {"fields": {}}),
    Row("tickets", "POST", f"{R}/tags", WORKS, {"tag": "x"}),
    Row("tickets", "DELETE", f"{R}/tags/{{name}}", WORKS),
    Row("tickets", "POST", f"{R}/watchers", WORKS, {"watcher": "olena"}),
    Row("tickets", "POST", f"{R}/watchers", NOTES),
    Row("tickets", "DELETE", f"{R}/watchers/{{watcher}}", NOTES),
    Row("tickets", "POST", f"{R}/pause", WORKS),
    Row("tickets", "POST", f"{R}/resume", WORKS),
    Row("tickets", "POST", f"{R}/status", WORKS, {"status": "open"}),
    Row("tickets", "POST", f"{R}/close", WORKS, {"resolution": "done"}),
    Row("sla", "GET", f"{R}/clocks", READS),
    Row("sla", "GET", "/v1/overdue", SEES),
    Row("notify", "GET", "/v1/deliveries", READS, query="?request_id={request_id}"),
    Row("notify", "GET", "/v1/operators/{operator}/notifications", BELL),
    Row("notify", "POST", "/v1/operators/{operator}/notifications/read", BELL),
    Row("notify", "GET", "/v1/webhooks", HOOKS, listed="{id}", subjects=HOOK),
    Row("notify", "POST", "/v1/webhooks/{id}/redrive", HOOKS, {"failed": True}, subjects=HOOK),
    Row("routing", "POST", "/v1/operators/{operator}/redistribute", COMMANDS),
]  # fmt: skip

OTHERS = {
    **{
        (service, "GET", path): PUBLIC
        for service in SERVICES
        for path in ("/asyncapi", "/health/live", "/health/ready", "/metrics")
    },
    ("ingest", "GET", "/health/door"): PUBLIC,
    ("ingest", "GET", "/channels/form/{account}"): PUBLIC,
    **{
        ("ingest", "POST", f"/channels/{channel}/{{account}}"): SECRET
        for channel in (
            "custom", "email", "form", "instagram", "messenger", "telegram", "telephony", "viber",
            "whatsapp", "widget",
        )
    },
    **{
        ("ingest", "GET", f"/channels/{channel}/{{account}}"): SECRET
        for channel in ("instagram", "messenger", "whatsapp")
    },
    ("ingest", "POST", "/channels/widget/{account}/session"): SECRET,
    ("ingest", "POST", "/messengers_host/{bot_id}/custom_channel/hooks"): SECRET,
}  # fmt: skip
"""Addresses at which roles say nothing."""
