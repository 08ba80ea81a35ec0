"""Commands over HTTP. Each is a few lines: who may, what it decides, what is answered.

Longer than other files, because it lists every command.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Header, Response
from fastapi import Request as HttpRequest

from chassis.auth.dependencies import Caller, Identity
from chassis.observability.tracing import traceparent
from chassis.service import Here, Service
from chassis.web.problems import Problem, conflict, invalid, stale, unavailable
from tickets.api import schemas
from tickets.api.access import (
    Colleague,
    Worker,
    check_watcher,
    may_unwatch,
    may_watch,
    takes_part,
    works_on,
)
from tickets.command_bus import Busy, Command, Desk, KeyReused, VersionDiffers, anybody
from tickets.configuration import rules_in_force
from tickets.domain import decisions
from tickets.domain import events as e
from tickets.domain.decisions import Events
from tickets.domain.request import Request
from tickets.domain.rules import Invalid, Refused, Rules
from trunkline_contracts import contact_id

router = APIRouter(prefix="/v1/requests", tags=["commands"])

MATCH = re.compile(r'(?:W/)?"?(\d{1,18})"?')


@dataclass(frozen=True, slots=True)
class Asked:
    """A command as it came: on which conditions, under which key, with which body."""

    here: Service
    expected: int | None
    key: str | None
    hash: bytes

    async def take(
        self,
        who: Identity,
        request_id: UUID,
        permit: Callable[[Request | None], None],
        deed: Callable[[Any, Rules], Events],
        extra: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Have the desk do it, and say what came of it."""
        rules = rules_in_force(self.here.workspaces)
        command = Command(
            request_id,
            decide=lambda request: deed(request, rules),
            answer=lambda after: {"id": str(after.id), "version": after.version, **(extra or {})},
            permit=permit,
            expected=self.expected,
            key=f"{who.subject}\n{self.key}" if self.key else "",
            hash=self.hash,
            workspace=rules.version,
            traceparent=traceparent(),
        )
        desk: Desk = self.here.state["desk"]
        try:
            return await desk.take(command)
        except VersionDiffers as differs:
            raise stale(differs.current) from None
        except KeyReused:
            detail = "this Idempotency-Key was used for another command"
            raise Problem(422, "idempotency_key_reused", detail) from None
        except Invalid as bad:
            raise invalid(str(bad), at=bad.what, value=bad.value, allowed=bad.allowed) from None
        except Refused as why:
            raise conflict(why.slug, str(why), **why.extra) from None
        except Busy:
            raise unavailable("others keep changing this request") from None


async def asked(
    http: HttpRequest,
    here: Here,
    _: Caller,
    if_match: Annotated[str | None, Header(description="The version the caller has seen")] = None,
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=200, description="Sent again, answered again")
    ] = None,
) -> Asked:
    """Read a command's conditions; nobody unknown is told what is wrong with theirs."""
    expected = None
    if if_match is not None and if_match.strip() != "*":
        seen = MATCH.fullmatch(if_match.strip())
        if seen is None:
            raise invalid("not a version", at="header.if-match", value=if_match, allowed='"7"')
        expected = int(seen.group(1))
    said = b"%s %s\n%s" % (http.method.encode(), http.url.path.encode(), await http.body())
    return Asked(here, expected, idempotency_key, sha256(said).digest())


Ask = Annotated[Asked, Depends(asked)]
Answer = dict[str, Any]


def _tell(response: Response, answer: Answer) -> Answer:
    response.headers["ETag"] = f'"{answer["version"]}"'
    return answer


@router.post("", status_code=201)
async def open_request(
    body: schemas.Opening, ask: Ask, who: Worker, here: Here, response: Response
) -> Answer:
    """Open a request for a customer."""
    contact = _contact(body)
    _check_account(here, body.channel, body.account)
    draft = e.Opened(
        type=body.type or "",
        channel=body.channel,
        account=body.account,
        contact=contact,
        title=body.title or "",
        topic=body.topic or "",
        priority=body.priority or "",
        status="",
        fields=body.fields,
        message=e.Message(uuid4(), body.description, here.clock()),
        conversation=body.conversation,
        by=who.subject,
    )

    def deed(_: Request | None, rules: Rules) -> Events:
        return decisions.open_request(rules, draft)

    answer = await ask.take(who, uuid4(), anybody, deed)
    response.headers["Location"] = f"/v1/requests/{answer['id']}"
    return _tell(response, answer)


def _contact(body: schemas.Opening) -> e.Contact:
    address = body.contact.address_on(body.channel)
    if address is None:
        allowed = ["address", "email", "phone", "id"]
        raise invalid("says no way to reach them", at="body.contact", allowed=allowed)
    id_ = contact_id(body.channel, body.account, address)
    return e.Contact(id_, body.contact.name, address, body.contact.language)


def _check_account(here: Service, channel: str, account: str) -> None:
    channels = {str(name): held for name, held in here.workspaces.current.channels.items()}
    if channel not in channels:
        raise invalid("no such channel", at="body.channel", value=channel, allowed=list(channels))
    if account not in channels[channel]:
        allowed = list(channels[channel])
        raise invalid("no such account", at="body.account", value=account, allowed=allowed)


@router.post("/{request_id}/reply", status_code=201)
async def reply(
    request_id: UUID, body: schemas.Words, ask: Ask, who: Worker, here: Here, response: Response
) -> Answer:
    """Answer the customer."""
    message = e.Message(uuid4(), body.text, here.clock())

    def deed(request: Request, _: Rules) -> Events:
        return decisions.reply(request, message, who.subject)

    told = {"message_id": str(message.id)}
    return _tell(response, await ask.take(who, request_id, works_on(who), deed, told))


@router.post("/{request_id}/note", status_code=201)
async def note(
    request_id: UUID, body: schemas.Words, ask: Ask, who: Colleague, here: Here, response: Response
) -> Answer:
    """Leave a note for colleagues; customers never see it."""

    def deed(request: Request, _: Rules) -> Events:
        return decisions.note(request, body.text, who.subject)

    return _tell(response, await ask.take(who, request_id, takes_part(here, who), deed))


@router.post("/{request_id}/status")
async def status(
    request_id: UUID, body: schemas.Status, ask: Ask, who: Worker, response: Response
) -> Answer:
    """Move it forward."""

    def deed(request: Request, rules: Rules) -> Events:
        return decisions.set_status(request, rules, body.status, who.subject)

    return _tell(response, await ask.take(who, request_id, works_on(who), deed))


@router.post("/{request_id}/close")
async def close(
    request_id: UUID, ask: Ask, who: Worker, response: Response, body: schemas.Closing | None = None
) -> Answer:
    """End its processing, for good."""
    resolution = body.resolution if body else ""

    def deed(request: Request, rules: Rules) -> Events:
        return decisions.close(request, rules, resolution, who.subject)

    return _tell(response, await ask.take(who, request_id, works_on(who), deed))


@router.post("/{request_id}/title")
async def title(
    request_id: UUID, body: schemas.Title, ask: Ask, who: Worker, response: Response
) -> Answer:
    """Give it another title."""

    def deed(request: Request, _: Rules) -> Events:
        return decisions.set_title(request, body.title, who.subject)

    return _tell(response, await ask.take(who, request_id, works_on(who), deed))


@router.post("/{request_id}/topic")
async def topic(
    request_id: UUID, body: schemas.Topic, ask: Ask, who: Worker, response: Response
) -> Answer:
    """Say what it is about."""

    def deed(request: Request, rules: Rules) -> Events:
        return decisions.set_topic(request, rules, body.topic, who.subject)

    return _tell(response, await ask.take(who, request_id, works_on(who), deed))


@router.post("/{request_id}/priority")
async def priority(
    request_id: UUID, body: schemas.Priority, ask: Ask, who: Worker, response: Response
) -> Answer:
    """Say how much it matters."""

    def deed(request: Request, rules: Rules) -> Events:
        return decisions.set_priority(request, rules, body.priority, who.subject)

    return _tell(response, await ask.take(who, request_id, works_on(who), deed))


@router.post("/{request_id}/fields")
async def fields(
    request_id: UUID, body: schemas.Fields, ask: Ask, who: Worker, response: Response
) -> Answer:
    """Give its fields values; null takes one away."""

    def deed(request: Request, rules: Rules) -> Events:
        return decisions.set_fields(request, rules, body.fields, who.subject)

    return _tell(response, await ask.take(who, request_id, works_on(who), deed))


@router.post("/{request_id}/pause")
async def pause(
    request_id: UUID, ask: Ask, who: Worker, response: Response, body: schemas.Pause | None = None
) -> Answer:
    """Let its clocks stand still."""
    reason = body.reason if body else None

    def deed(request: Request, _: Rules) -> Events:
        return decisions.pause(request, reason, who.subject)

    return _tell(response, await ask.take(who, request_id, works_on(who), deed))


@router.post("/{request_id}/resume")
async def resume(request_id: UUID, ask: Ask, who: Worker, response: Response) -> Answer:
    """Let its clocks run again."""

    def deed(request: Request, _: Rules) -> Events:
        return decisions.resume(request, who.subject)

    return _tell(response, await ask.take(who, request_id, works_on(who), deed))


@router.post("/{request_id}/tags")
async def tag(
    request_id: UUID, body: schemas.Tag, ask: Ask, who: Worker, response: Response
) -> Answer:
    """Put a tag on it."""

    def deed(request: Request, _: Rules) -> Events:
        return decisions.tag(request, body.tag, who.subject)

    return _tell(response, await ask.take(who, request_id, works_on(who), deed))


@router.delete("/{request_id}/tags/{name}")
async def untag(request_id: UUID, name: str, ask: Ask, who: Worker, response: Response) -> Answer:
    """Take a tag off it."""

    def deed(request: Request, _: Rules) -> Events:
        return decisions.untag(request, name, who.subject)

    return _tell(response, await ask.take(who, request_id, works_on(who), deed))


@router.post("/{request_id}/watchers")
async def watch(
    request_id: UUID,
    ask: Ask,
    who: Colleague,
    here: Here,
    response: Response,
    body: schemas.Watcher | None = None,
) -> Answer:
    """Watch it, or, as its assignee or a supervisor, have somebody watch it."""
    watcher = (body.watcher if body else None) or who.subject

    def deed(request: Request, _: Rules) -> Events:
        check_watcher(here, who, watcher)
        return decisions.watch(request, watcher, who.subject)

    return _tell(response, await ask.take(who, request_id, may_watch(here, who, watcher), deed))


@router.delete("/{request_id}/watchers/{watcher}")
async def unwatch(
    request_id: UUID, watcher: str, ask: Ask, who: Colleague, here: Here, response: Response
) -> Answer:
    """Watch it no more, or, as its assignee or a supervisor, spare somebody."""

    def deed(request: Request, _: Rules) -> Events:
        return decisions.unwatch(request, watcher, who.subject)

    return _tell(response, await ask.take(who, request_id, may_unwatch(here, who, watcher), deed))
