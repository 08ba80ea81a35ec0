"""Routes of the gateway: one per inbound endpoint, submissions, and the gateway's health."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from chassis.errors import NotReady
from chassis.web.problems import unavailable
from ingest.channels.http_api.parser import Submission
from ingest.gateway.endpoints import ENDPOINTS, InboundEndpoint
from ingest.gateway.receiver import BanCheckedRoute, Receiver

ACCEPTED: dict[str, Any] = {
    "description": "Stored; it will not be lost. `GET /v1/inbound/{id}` returns its outcome.",
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
    401: {"description": "Not authenticated; nothing was stored."},
    408: {"description": "Headers or body took too long to arrive; nothing was stored."},
    413: {"description": "The body is larger than 256 KiB."},
    429: {"description": "The account sends too many deliveries; see Retry-After."},
    431: {"description": "Request line and headers are larger than 32 KiB."},
    503: {"description": "It could not be stored; send it again, see Retry-After."},
}
INVALID_VALUE = {
    "description": "A value is not allowed; the problem names it and the allowed ones."
}
SUBSCRIPTION_PARAMETERS = ("hub.mode", "hub.verify_token", "hub.challenge")

health = APIRouter(prefix="/health", tags=["operations"])


def receiver_of(request: Request) -> Receiver:
    """Return this replica's receiver."""
    receiver: Receiver = request.app.state.service.state["receiver"]
    return receiver


def gateway_router() -> APIRouter:
    """Return the routes by which deliveries come in."""
    router = APIRouter(route_class=BanCheckedRoute, tags=["door"])
    for endpoint in ENDPOINTS:
        _add_endpoint(router, endpoint)
        if endpoint.verifies_subscription:
            _add_subscription_check(router, endpoint)
    _add_submissions(router)
    return router


def _add_endpoint(router: APIRouter, endpoint: InboundEndpoint) -> None:
    async def receive(request: Request) -> Response:
        return await receiver_of(request).receive(endpoint, request)

    responses: dict[int | str, dict[str, Any]] = {endpoint.status: ACCEPTED, **REFUSALS}
    size = _format_size(endpoint.max_body_bytes)
    responses[413] = {"description": f"The body is larger than {size}."}
    if endpoint.check_body:
        responses[422] = INVALID_VALUE
    is_required = not endpoint.credential_parameters
    router.add_api_route(
        endpoint.path,
        receive,
        methods=["POST"],
        name=endpoint.name,
        description=endpoint.description,
        status_code=endpoint.status,
        responses=responses,
        openapi_extra={
            "parameters": [
                _parameter(endpoint.account_parameter, "path"),
                *(_parameter(name, required=is_required) for name in endpoint.credential_headers),
                *(
                    _parameter(name, "query", required=False)
                    for name in endpoint.credential_parameters
                ),
            ],
            "requestBody": {
                "required": True,
                "content": {
                    media_type: {"schema": endpoint.body_schema}
                    for media_type in endpoint.media_types
                },
            },
        },
    )


def _add_subscription_check(router: APIRouter, endpoint: InboundEndpoint) -> None:
    async def verify_subscription(request: Request) -> Response:
        return await receiver_of(request).verify_subscription(endpoint, request)

    router.add_api_route(
        endpoint.path,
        verify_subscription,
        methods=["GET"],
        name=f"{endpoint.channel} handshake",
        description="Answer the request by which Meta verifies a webhook's subscription.",
        response_class=PlainTextResponse,
        responses={
            200: {"description": "The challenge of the request."},
            403: {"description": "The verify token is not this account's."},
        },
        openapi_extra={
            "parameters": [
                _parameter("account", "path"),
                *(_parameter(name, "query") for name in SUBSCRIPTION_PARAMETERS),
            ]
        },
    )


def _add_submissions(router: APIRouter) -> None:
    router.add_api_route(
        "/v1/requests",
        submit,
        methods=["POST"],
        status_code=202,
        responses={
            202: ACCEPTED,
            **REFUSALS,
            403: {"description": "The token's roles may not open requests."},
            422: INVALID_VALUE,
        },
        openapi_extra={
            "security": [{"HTTPBearer": []}, {"DPoP": []}],
            "parameters": [
                {
                    "name": "DPoP",
                    "in": "header",
                    "schema": {"type": "string"},
                    "description": "A device's proof (RFC 9449) for `Authorization: DPoP`.",
                },
                {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "schema": {"type": "string", "maxLength": 255},
                    "description": "A repeated key has no further effect; with another body it is"
                    " rejected.",
                },
            ],
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": Submission.model_json_schema()}},
            },
        },
    )


async def submit(request: Request) -> Response:
    """Open a request, or add a message to the open request of a conversation."""
    return await receiver_of(request).submit(request)


@health.get("/door", responses={503: {"description": "Deliveries cannot be stored."}})
async def open_door(request: Request) -> dict[str, str]:
    """Return whether deliveries can be stored; they can while PostgreSQL is away, too."""
    try:
        reason = receiver_of(request).closed_reason()
    except NotReady as why:
        reason = str(why)
    if reason:
        raise unavailable(reason)
    return {"status": "open"}


def _parameter(name: str, place: str = "header", *, required: bool = True) -> dict[str, Any]:
    return {"name": name, "in": place, "required": required, "schema": {"type": "string"}}


def _format_size(size_bytes: int) -> str:
    """Return a size in KiB or, if it is a whole number of them, in MiB."""
    mebibytes, rest = divmod(size_bytes, 2**20)
    return f"{size_bytes // 1024} KiB" if rest else f"{mebibytes} MiB"
