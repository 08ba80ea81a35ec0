"""Read models: requests as they are or were, and their histories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec
from eventsourcing.persistence import StoredEvent
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from tickets.domain import events as e
from tickets.domain.request import Request, replay
from tickets.store import MAPPER

COLUMNS: Final[LiteralString] = (
    "id, version, type, status, title, topic, priority, channel, account, contact, conversation,"
    ' assignee, "group", queued, paused, tags, watchers, fields, origin, follow_up_of, resolution,'
    " opened_at, updated_at, closed_at, ARRAY(SELECT DISTINCT clock FROM breaches b"
    " WHERE b.request_id = r.id ORDER BY clock) AS breached"
)
SELECT_REQUEST: Final[LiteralString] = "SELECT " + COLUMNS + " FROM requests r WHERE id = %s"  # noqa: S608  constants
IS_VISIBLE: Final[LiteralString] = (
    '(assignee = %(subject)s OR "group" = ANY(%(groups)s)'
    " OR (assignee IS NULL AND closed_at IS NULL))"
)
OWN_ACCOUNT: Final[LiteralString] = "(channel = 'api' AND account = %(own)s)"
IS_AFTER_CURSOR: Final[LiteralString] = "(opened_at, id) < (%(opened_at)s, %(id)s)"
NEWEST_FIRST: Final[LiteralString] = " ORDER BY opened_at DESC, id DESC LIMIT %(limit)s"
FILTERS: Final[Mapping[str, LiteralString]] = {
    "status": "status = %(status)s",
    "type": "type = %(type)s",
    "topic": "topic = %(topic)s",
    "priority": "priority = %(priority)s",
    "channel": "channel = %(channel)s",
    "assignee": "assignee = %(assignee)s",
    "group": '"group" = %(group)s',
    "contact": "contact ->> 'id' = %(contact)s",
    "tag": "%(tag)s = ANY(tags)",
    "open": "(closed_at IS NULL) = %(open)s",
    "breached": "EXISTS (SELECT 1 FROM breaches b WHERE b.request_id = r.id) = %(breached)s",
}
SELECT_HISTORY: Final[LiteralString] = (
    "SELECT originator_id, originator_version, topic, state FROM tickets_events"
    " WHERE originator_id = %s AND originator_version > %s AND (%s::text IS NULL OR topic = %s)"
    " ORDER BY originator_version LIMIT %s"
)
NO_LIMIT: Final = 1 << 40
INTERNAL_FIELDS: Final = (
    "messages", "deliveries", "platform_ids", "edits", "deleted", "reactions", "epoch", "rated",
    "invited_watchers",
)  # fmt: skip
"""The fields of a request that only decisions need."""
REDACTED_VALUES: Final[Mapping[str, Any]] = {
    "contact": None,
    "conversation": None,  # the platform's id of the chat, often a phone number
    "contacts": [],  # contact cards in a message
    "contact_id": None,
    "external_id": None,  # some platforms put the sender's number into message ids
    "platform_id": None,
    "reply_to": None,
}
"""The fields that identify a customer, in any document, and what they are replaced by."""
REDACTED_TEXTS: Final[Mapping[str, Any]] = {
    "text": None,
    "html": None,
    "quoted": None,
    "button": None,
    "location": None,
    "attachments": [],
    "title": None,  # the first line of a customer's text
    "note": None,
    "comment": None,
    "resolution": None,
}
"""The fields with texts of customers and colleagues, and what they are replaced by."""
REDACTED_EVENT_FIELDS: Final[Mapping[type[e.Event], tuple[str, ...]]] = {
    e.TitleChanged: ("from", "to"),
    e.Paused: ("reason",),
    e.DeliveryRecorded: ("reason",),  # a platform's words, which may repeat the address
}
"""Fields that hold texts in these events only; elsewhere their names mean something else."""
REDACTED: Final = {**REDACTED_VALUES, **REDACTED_TEXTS}


@dataclass(frozen=True, slots=True)
class ReadScope:
    """The requests a caller may read: all, or their own, their groups' and the waiting ones."""

    everything: bool
    subject: str
    groups: Sequence[str]
    contacts: bool = True
    """Whether the caller may see who the customers are, and what was written."""
    inside: bool = True
    """Whether the caller is a colleague; integrators are not."""
    account: str | None = None
    """The account of the channel `api` that is the caller's own, as an integrator."""

    def can_read(self, request: Mapping[str, Any]) -> bool:
        """Return whether the caller may read a request, given as a row or as a document.

        Watching on one's own initiative gives no access: while it waits, every request is visible
        to everybody. Only watchers invited by another person keep access.
        """
        if self.everything or self.owns(request):
            return True
        if not self.inside:
            return False
        if self.subject in request.get("invited_watchers", ()):
            return True
        is_waiting = request["assignee"] is None and request["closed_at"] is None
        is_own = request["assignee"] == self.subject or request["group"] in self.groups
        return is_waiting or is_own

    def owns(self, request: Mapping[str, Any]) -> bool:
        """Return whether the request was opened with the caller's own token, as an integrator."""
        return self.account is not None and (
            request["channel"] == "api" and request["account"] == self.account
        )

    @property
    def condition(self) -> LiteralString | None:
        """Return the SQL condition of the rows in scope; None for all."""
        if self.everything:
            return None
        if not self.inside:
            return OWN_ACCOUNT
        return IS_VISIBLE if self.account is None else "(" + IS_VISIBLE + " OR " + OWN_ACCOUNT + ")"

    def redact(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return a document without the customer's identity and texts the caller may not see."""
        return document if self.contacts else _redact_mapping(document)


def _redact_mapping(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: REDACTED[name] if name in REDACTED else _redact_value(name, value)
        for name, value in document.items()
    }


def _redact_value(name: str, value: Any) -> Any:
    """Redact nested documents, but not `fields`, whose names the workspace declares."""
    match value:
        case Mapping() if name != "fields":
            return _redact_mapping(value)
        case list() | tuple():
            return [_redact_value(name, item) for item in value]
    return value


async def find_request(conn: AsyncConnection[Any], request_id: UUID) -> dict[str, Any] | None:
    """Return the row of a request, or None."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(SELECT_REQUEST, (request_id,), prepare=True)
        return await cursor.fetchone()


async def list_requests(
    conn: AsyncConnection[Any],
    scope: ReadScope,
    filters: Mapping[str, Any],
    after: tuple[Any, ...] | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Return rows of requests, newest first, that were opened before the position `after`."""
    conditions: list[LiteralString] = [FILTERS[name] for name in filters]
    values = {**filters, "subject": scope.subject, "groups": list(scope.groups), "limit": limit}
    values["own"] = scope.account
    if (visible := scope.condition) is not None:
        conditions.append(visible)
    if after is not None:
        values["opened_at"], values["id"] = after
        conditions.append(IS_AFTER_CURSOR)
    where: LiteralString = " WHERE " + " AND ".join(conditions) if conditions else ""
    async with conn.cursor(row_factory=dict_row) as cursor:
        query: LiteralString = "SELECT " + COLUMNS + " FROM requests r" + where + NEWEST_FIRST  # noqa: S608  constants
        await cursor.execute(query, values)
        return await cursor.fetchall()


async def read_history(
    conn: AsyncConnection[Any],
    request_id: UUID,
    after: int = 0,
    topic: str | None = None,
    limit: int = NO_LIMIT,
) -> list[e.Recorded]:
    """Return the events of a request after a version, all or those of one topic."""
    parameters = (request_id, after, topic, topic, limit)
    rows = await conn.execute(SELECT_HISTORY, parameters, prepare=True, binary=True)
    return [MAPPER.to_domain_event(StoredEvent(*row)) for row in await rows.fetchall()]


def request_as_of(events: Sequence[e.Recorded], time: datetime) -> Request | None:
    """Return a request as it was at a time."""
    return replay(recorded for recorded in events if recorded.time <= time)


def request_document(request: Request) -> dict[str, Any]:
    """Return a request in the form of a row of the list."""
    document: dict[str, Any] = msgspec.to_builtins(request)
    for name in INTERNAL_FIELDS:
        del document[name]
    return document


def log_entry(recorded: e.Recorded, scope: ReadScope) -> dict[str, Any]:
    """Return an event in the form of the log."""
    data: dict[str, Any] = scope.redact(msgspec.to_builtins(recorded.data))
    if not scope.contacts:
        data |= dict.fromkeys(REDACTED_EVENT_FIELDS.get(type(recorded.data), ()))
    return {
        "sequence": recorded.originator_version,
        "time": recorded.time,
        "type": recorded.data.TOPIC,
        "by": data.get("operator") or data.get("by"),
        "data": data,
    }
