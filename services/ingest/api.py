"""ingest's addresses: the door, what became of a delivery, and the ledger."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from chassis.auth import Identity, Role, allow
from chassis.problems import missing
from chassis.service import Here
from ingest import views
from ingest.adapters.api import Submission
from ingest.adapters.custom import Said
from ingest.door import Direct, Door
from ingest.integrators import Integrators
from ingest.ledger import ledger, summed

LOOKS = (Role.SUPERVISOR, Role.ADMINISTRATOR, Role.INTEGRATOR)
SEES_ALL = (Role.SUPERVISOR, Role.ADMINISTRATOR)
Looking = Annotated[Identity, Depends(allow(*LOOKS))]

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
    413: {"description": "The body is larger than 256 KiB."},
    429: {"description": "Too many deliveries of this account; see Retry-After."},
    503: {"description": "It could not be stored; send it again, see Retry-After."},
}

door = APIRouter(route_class=Direct, tags=["door"])
router = APIRouter(prefix="/v1", tags=["inbound"])


def at_the_door(request: Request) -> Door:
    """Give this replica's door."""
    found: Door = request.app.state.service.state["door"]
    return found


@door.post(
    "/channels/telegram/{account}",
    responses={200: ACCEPTED, **REFUSALS},
    openapi_extra={
        "parameters": [
            {"name": "account", "in": "path", "required": True, "schema": {"type": "string"}},
            {
                "name": "X-Telegram-Bot-Api-Secret-Token",
                "in": "header",
                "required": True,
                "schema": {"type": "string"},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
    },
)
async def telegram(request: Request) -> Response:
    """Take an update of a Telegram bot, as its webhook sends it."""
    return await at_the_door(request).telegram(request)


def _header(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "schema": {"type": "string"}}


@door.post(
    "/channels/email/{account}",
    status_code=202,
    responses={202: ACCEPTED, **REFUSALS, 413: {"description": "The mail is larger than 25 MiB."}},
    openapi_extra={
        "parameters": [
            {"name": "account", "in": "path", "required": True, "schema": {"type": "string"}},
            _header("X-Trunkline-Secret"),
        ],
        "requestBody": {
            "required": True,
            "content": {"message/rfc822": {"schema": {"type": "string", "format": "binary"}}},
        },
    },
)
async def email(request: Request) -> Response:
    """Take a mail as it came, headers and all."""
    return await at_the_door(request).email(request)


@door.post(
    "/channels/custom/{account}",
    status_code=202,
    responses={
        202: ACCEPTED,
        **REFUSALS,
        422: {"description": "A value cannot be taken; the problem names it and what is allowed."},
    },
    openapi_extra={
        "parameters": [
            {"name": "account", "in": "path", "required": True, "schema": {"type": "string"}},
            _header("webhook-id"),
            _header("webhook-timestamp"),
            _header("webhook-signature"),
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": Said.model_json_schema()}},
        },
    },
)
async def custom(request: Request) -> Response:
    """Take a message of an integrator's own channel, signed as Standard Webhooks 1.0 says."""
    integrators: Integrators = request.app.state.service.state["integrators"]
    return await integrators.post(request)


@door.post(
    "/v1/requests",
    status_code=202,
    responses={
        202: ACCEPTED,
        **REFUSALS,
        403: {"description": "The token's roles may not open requests."},
        422: {"description": "A value cannot be taken; the problem names it and what is allowed."},
    },
    openapi_extra={
        "security": [{"HTTPBearer": []}],
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": {"type": "string", "maxLength": 255},
                "description": "Repeating a key repeats nothing; with another body it is rejected.",
            }
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


@router.get("/inbound/{inbound_id}")
async def inbound(inbound_id: UUID, here: Here, who: Looking) -> dict[str, Any]:
    """Say what became of a delivery; an id that was given out and not taken in yet is `pending`."""
    async with here.db.connection() as conn:
        items = await views.items_of(conn, inbound_id)
    if items and not who.has(*SEES_ALL) and not _own(who, items[0]["channel"], items[0]["account"]):
        raise missing("inbound id", inbound_id)
    mint = here.state["door"].mint
    if not items and not mint.issued(inbound_id):
        raise missing("inbound id", inbound_id)
    names = ("outcome", "request_id", "reason", "threaded_by")
    told = [{name: item[name] for name in names} for item in items]
    first = told[0] if told else {**dict.fromkeys(names), "outcome": "pending"}
    return {"inbound_id": inbound_id, **first, "items": told}


@router.get("/ledger")
async def balance(here: Here, who: Looking) -> dict[str, Any]:
    """Say what was accepted, what became of it, and whether that adds up; or one's own part."""
    found = await ledger(here)
    if who.has(*SEES_ALL):
        return found.as_json()
    own = [line for (channel, account), line in found.lines.items() if _own(who, channel, account)]
    return {**summed(own), "accounts": [line.as_json() for line in own]}


def _own(who: Identity, channel: str, account: str) -> bool:
    """An integrator's own are the deliveries it sent as itself, and those of its channel."""
    return channel in {"api", "custom"} and account == who.subject
