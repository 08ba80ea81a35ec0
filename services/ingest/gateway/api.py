"""ingest's addresses: the door, what became of a delivery, and the ledger.

Long, as addresses carry their documents.
"""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from chassis.auth.dependencies import Identity, Role, allow
from chassis.errors import NotReady
from chassis.service import ServiceDep
from chassis.web.problems import Problem, missing, unavailable
from ingest.audit import queries
from ingest.audit.ledger import is_in_inbound, ledger, summed
from ingest.audit.queries import HIGHEST
from ingest.channels.http_api.parser import Submission
from ingest.gateway.endpoints import SCHEMES, Scheme
from ingest.gateway.receiver import Door, Guarded

LOOKS = (Role.SUPERVISOR, Role.ADMINISTRATOR, Role.INTEGRATOR)
SEES_ALL = (Role.SUPERVISOR, Role.ADMINISTRATOR)
Looking = Annotated[Identity, Depends(allow(*LOOKS))]
Accounting = Annotated[Identity, Depends(allow(*SEES_ALL))]

ACCEPTED: dict[str, Any] = {
    "description": "Stored: it will not be lost. The id tells later what became of it.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["inbound_id"],
                "properties": {"inbound_id": {"type": "string", "format": "uuid"}},
            }
        }
    },
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"description": "Not authenticated; nothing was kept."},
    408: {"description": "Headers or body took too long to arrive; nothing was kept."},
    413: {"description": "The body is larger than 256 KiB."},
    429: {"description": "Too many deliveries of this account; see Retry-After."},
    431: {"description": "Request line and headers are larger than 32 KiB."},
    503: {"description": "It could not be stored; send it again, see Retry-After."},
}

WRONG = {"description": "A value cannot be taken; the problem names it and what is allowed."}
HANDSHAKE = ("hub.mode", "hub.verify_token", "hub.challenge")

door = APIRouter(route_class=Guarded, tags=["door"])
router = APIRouter(prefix="/v1", tags=["inbound"])
health = APIRouter(prefix="/health", tags=["operations"])


def at_the_door(request: Request) -> Door:
    """Give this replica's door."""
    found: Door = request.app.state.service.state["door"]
    return found


def _parameter(name: str, place: str = "header", *, required: bool = True) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": {"type": "string"}}


def _size(limit: int) -> str:
    mebibytes, rest = divmod(limit, 2**20)
    return f"{limit // 1024} KiB" if rest else f"{mebibytes} MiB"


def add(scheme: Scheme) -> None:
    """Open the door of one channel, and describe it."""

    async def take(request: Request) -> Response:
        return await at_the_door(request).take(scheme, request)

    answers: dict[int | str, dict[str, Any]] = {scheme.status: ACCEPTED, **REFUSALS}
    answers[413] = {"description": f"The body is larger than {_size(scheme.limit)}."}
    if scheme.check:
        answers[422] = WRONG
    door.add_api_route(
        scheme.address,
        take,
        methods=["POST"],
        name=scheme.operation or scheme.channel,
        description=scheme.about,
        status_code=scheme.status,
        responses=answers,
        openapi_extra={
            "parameters": [
                _parameter(scheme.parameter, "path"),
                *(_parameter(name, required=not scheme.query) for name in scheme.shows),
                *(_parameter(name, "query", required=False) for name in scheme.query),
            ],
            "requestBody": {
                "required": True,
                "content": {media: {"schema": scheme.body} for media in scheme.media},
            },
        },
    )


def add_handshake(scheme: Scheme) -> None:
    """Let Meta ask whether an address is ours."""

    async def shake(request: Request) -> Response:
        return await at_the_door(request).shake(scheme, request)

    door.add_api_route(
        scheme.address,
        shake,
        methods=["GET"],
        name=f"{scheme.channel} handshake",
        description="Answer the handshake by which Meta makes sure that an address is ours.",
        response_class=PlainTextResponse,
        responses={
            200: {"description": "The challenge, as it was asked."},
            403: {"description": "The verify token is not this account's."},
        },
        openapi_extra={
            "parameters": [
                _parameter("account", "path"),
                *(_parameter(name, "query") for name in HANDSHAKE),
            ]
        },
    )


for each in SCHEMES:
    add(each)
    if each.handshake:
        add_handshake(each)


@door.post(
    "/v1/requests",
    status_code=202,
    responses={
        202: ACCEPTED,
        **REFUSALS,
        403: {"description": "The token's roles may not open requests."},
        422: WRONG,
    },
    openapi_extra={
        "security": [{"HTTPBearer": []}, {"DPoP": []}],
        "parameters": [
            {
                "name": "DPoP",
                "in": "header",
                "schema": {"type": "string"},
                "description": "A device's proof (RFC 9449), with `Authorization: DPoP <token>`.",
            },
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": {"type": "string", "maxLength": 255},
                "description": "Repeating a key repeats nothing; with another body it is rejected.",
            },
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": Submission.model_json_schema()}},
        },
    },
)
async def submit(request: Request) -> Response:
    """Open a request, or write to the one that is open in a conversation."""
    return await at_the_door(request).submit(request)


@health.get("/door", responses={503: {"description": "It is shut."}})
async def open_door(request: Request) -> dict[str, str]:
    """Tell whether the door takes deliveries: it does while PostgreSQL is away, too."""
    try:
        why = at_the_door(request).shut()
    except NotReady as away:
        why = str(away)
    if why:
        raise unavailable(why)
    return {"status": "open"}


@router.get("/inbound/{inbound_id}")
async def inbound(inbound_id: UUID, here: ServiceDep, who: Looking) -> dict[str, Any]:
    """Say what became of a delivery; an id that was given out and not taken in yet is `pending`.

    With the reason `not_in_inbound` it was accepted and is lost: INBOUND does not have it.
    """
    async with here.db.connection() as conn:
        items = await queries.items_of(conn, inbound_id)
    if items and not who.has(*SEES_ALL) and not _own(who, items[0]["channel"], items[0]["account"]):
        raise missing("inbound id", inbound_id)
    mint = here.state["door"].mint
    if not items and not mint.issued(inbound_id):
        raise missing("inbound id", inbound_id)
    names = ("outcome", "request_id", "reason", "threaded_by")
    told = [{name: item[name] for name in names} for item in items]
    first = told[0] if told else {**dict.fromkeys(names), "outcome": "pending"}
    if not told and await is_in_inbound(here, inbound_id) is False:
        first["reason"] = "not_in_inbound"
    return {"inbound_id": inbound_id, **first, "items": told}


@router.get("/ledger")
async def balance(
    here: ServiceDep, who: Looking, channel: str | None = None, account: str | None = None
) -> dict[str, Any]:
    """Say what was accepted, what became of it, and whether that adds up.

    Of one `channel` or `account` when asked for; an integrator is told its own part.
    """
    found = await ledger(here)
    if who.has(*SEES_ALL) and channel is None and account is None:
        return found.as_json()
    lines = [
        line
        for (of, name), line in sorted(found.lines.items())
        if channel in (None, of)
        and account in (None, name)
        and (who.has(*SEES_ALL) or _own(who, of, name))
    ]
    return {**summed(lines), "accounts": [line.as_json() for line in lines]}


class Losses(BaseModel):
    """Losses a person has looked at."""

    model_config = ConfigDict(extra="forbid", strict=True)

    lost: int = Field(ge=0, le=HIGHEST, description="All that is lost, as the ledger has it.")
    reason: str = Field(min_length=1, max_length=500)


@router.post(
    "/ledger/losses",
    status_code=201,
    responses={409: {"description": "The ledger has another number of losses."}},
)
async def acknowledge_losses(said: Losses, here: ServiceDep, who: Accounting) -> dict[str, Any]:
    """Record that these losses are known: the ledger balances again until there are more."""
    found = await ledger(here)
    if found.lost != said.lost:
        detail = f"lost is {said.lost}, and the ledger has {found.lost}"
        raise Problem(409, "other_losses", detail)
    async with here.transaction() as tx:
        await tx.run(queries.ACKNOWLEDGE, said.lost, said.reason, who.subject, tx.now)
    return {"lost": said.lost, "reason": said.reason, "by": who.subject}


def _own(who: Identity, channel: str, account: str) -> bool:
    """An integrator's own are the deliveries it sent as itself, and those of its channel."""
    return channel in {"api", "custom"} and account == who.subject
