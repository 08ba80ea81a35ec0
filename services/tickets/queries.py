"""What people see: requests as they stand, as they stood, their log and their messages.

Long, as it lists what is shown.
"""

import base64
import binascii
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
ONE: Final[LiteralString] = "SELECT " + COLUMNS + " FROM requests r WHERE id = %s"  # noqa: S608  constants
MINE: Final[LiteralString] = (
    '(assignee = %(subject)s OR "group" = ANY(%(teams)s)'
    " OR (assignee IS NULL AND closed_at IS NULL))"
)
OWN_ACCOUNT: Final[LiteralString] = "(channel = 'api' AND account = %(own)s)"
NEXT: Final[LiteralString] = "(opened_at, id) < (%(opened_at)s, %(id)s)"
NEWEST: Final[LiteralString] = " ORDER BY opened_at DESC, id DESC LIMIT %(limit)s"
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
LOG: Final[LiteralString] = (
    "SELECT originator_id, originator_version, topic, state FROM tickets_events"
    " WHERE originator_id = %s AND originator_version > %s AND (%s::text IS NULL OR topic = %s)"
    " ORDER BY originator_version LIMIT %s"
)
ALL: Final = 1 << 40
INNER: Final = (
    "messages", "deliveries", "sent", "changed", "deleted", "reactions", "epoch", "rated", "guests"
)  # fmt: skip
"""What a folded request knows for its decisions alone."""
CUSTOMER: Final[Mapping[str, Any]] = {
    "contact": None,
    "conversation": None,  # the platform's chat, often a phone number
    "contacts": [],  # cards somebody sent
    "contact_id": None,
    "external_id": None,  # platforms name messages after people
    "platform_id": None,
    "reply_to": None,
}
"""Who a customer is, wherever a document says it, and what those see who may not know."""
TEXTS: Final[Mapping[str, Any]] = {
    "text": None,
    "html": None,
    "quoted": None,
    "button": None,
    "location": None,
    "attachments": [],
    "title": None,  # the first line of what was written
    "note": None,
    "comment": None,
    "resolution": None,
}
"""What customers and colleagues wrote, which the same do not see."""
TEXTS_OF: Final[Mapping[type[e.Event], tuple[str, ...]]] = {
    e.TitleChanged: ("from", "to"),
    e.Paused: ("reason",),
    e.DeliveryRecorded: ("reason",),  # a platform's words, which may repeat the address
}
"""The same in events whose names mean other things elsewhere."""
HIDDEN: Final = {**CUSTOMER, **TEXTS}


@dataclass(frozen=True, slots=True)
class Sight:
    """What somebody may see: everything, or what is theirs, their groups' or nobody's yet."""

    everything: bool
    subject: str
    teams: Sequence[str]
    contacts: bool = True
    """Whether they see who customers are, and what was written."""
    inside: bool = True
    """Whether they are colleagues; integrators are not."""
    account: str | None = None
    """The account of the channel `api` that is theirs as an integrator."""

    def sees(self, request: Mapping[str, Any]) -> bool:
        """Whether they may see this request, as it stands or, where `guests` are told, is folded.

        Watching of one's own accord lets nobody in: every request waits at first, for all to see.
        """
        if self.everything or self.owns(request):
            return True
        if not self.inside:
            return False
        if self.subject in request.get("guests", ()):
            return True
        waiting = request["assignee"] is None and request["closed_at"] is None
        mine = request["assignee"] == self.subject or request["group"] in self.teams
        return waiting or mine

    def owns(self, request: Mapping[str, Any]) -> bool:
        """Return whether the request was opened with their own token, as an integrator."""
        return self.account is not None and (
            request["channel"] == "api" and request["account"] == self.account
        )

    @property
    def condition(self) -> LiteralString | None:
        """Return which rows of a list they see, as SQL; None for all."""
        if self.everything:
            return None
        if not self.inside:
            return OWN_ACCOUNT
        return MINE if self.account is None else "(" + MINE + " OR " + OWN_ACCOUNT + ")"

    def hide(self, document: dict[str, Any]) -> dict[str, Any]:
        """Leave out who the customer is and what was written, when that is not theirs to see."""
        return document if self.contacts else _anonymous(document)


def _anonymous(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: HIDDEN[name] if name in HIDDEN else _within(name, part)
        for name, part in document.items()
    }


def _within(name: str, part: Any) -> Any:
    """Look into messages and what is in them; the names of own fields mean something else."""
    match part:
        case Mapping() if name != "fields":
            return _anonymous(part)
        case list() | tuple():
            return [_within(name, each) for each in part]
    return part


async def one(conn: AsyncConnection[Any], request_id: UUID) -> dict[str, Any] | None:
    """Give a request as it stands."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(ONE, (request_id,), prepare=True)
        return await cursor.fetchone()


async def some(
    conn: AsyncConnection[Any],
    sight: Sight,
    wanted: Mapping[str, Any],
    limit: int,
    cursor: str | None,
) -> tuple[list[dict[str, Any]], str | None]:
    """List requests, the newest first, and where the list goes on."""
    where: list[LiteralString] = [FILTERS[name] for name in wanted]
    values = {**wanted, "subject": sight.subject, "teams": list(sight.teams), "limit": limit + 1}
    values["own"] = sight.account
    if (seen := sight.condition) is not None:
        where.append(seen)
    if cursor is not None:
        values["opened_at"], values["id"] = _place(cursor)
        where.append(NEXT)
    condition: LiteralString = " WHERE " + " AND ".join(where) if where else ""
    async with conn.cursor(row_factory=dict_row) as rows:
        query: LiteralString = "SELECT " + COLUMNS + " FROM requests r" + condition + NEWEST  # noqa: S608  constants
        await rows.execute(query, values)
        found = await rows.fetchall()
    more = len(found) > limit
    items = [sight.hide(row) for row in found[:limit]]
    return items, _cursor(items[-1]) if more else None


def _cursor(last: Mapping[str, Any]) -> str:
    text = f"{last['opened_at'].isoformat()} {last['id']}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def _place(cursor: str) -> tuple[datetime, UUID]:
    """Read a cursor; raises ValueError when it is none of ours."""
    try:
        at, request_id = base64.urlsafe_b64decode(cursor).decode().split(" ")
        return datetime.fromisoformat(at), UUID(request_id)
    except binascii.Error as why:
        raise ValueError(cursor) from why


async def history(
    conn: AsyncConnection[Any],
    request_id: UUID,
    after: int = 0,
    topic: str | None = None,
    limit: int = ALL,
) -> list[e.Recorded]:
    """Read a part of a request's history."""
    given = (request_id, after, topic, topic, limit)
    rows = await conn.execute(LOG, given, prepare=True, binary=True)
    return [MAPPER.to_domain_event(StoredEvent(*row)) for row in await rows.fetchall()]


def stood(events: Sequence[e.Recorded], at: datetime) -> Request | None:
    """Give a request as it stood at an instant."""
    return replay(recorded for recorded in events if recorded.time <= at)


def document(request: Request) -> dict[str, Any]:
    """Show a folded request like one of the list."""
    told: dict[str, Any] = msgspec.to_builtins(request)
    for inner in INNER:
        del told[inner]
    return told


def entry(recorded: e.Recorded, sight: Sight) -> dict[str, Any]:
    """Show one line of the log."""
    data: dict[str, Any] = sight.hide(msgspec.to_builtins(recorded.data))
    if not sight.contacts:
        data |= dict.fromkeys(TEXTS_OF.get(type(recorded.data), ()))
    return {
        "sequence": recorded.originator_version,
        "time": recorded.time,
        "type": recorded.data.TOPIC,
        "by": data.get("operator") or data.get("by"),
        "data": data,
    }
