"""The HTTP endpoint of a command, built from its row in the table of `tickets.api.commands`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from inspect import Parameter, Signature
from typing import Annotated, Any, Generic, NamedTuple, TypeVar, cast
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Response
from fastapi import Request as HttpRequest

from chassis.auth.dependencies import Caller, Identity
from chassis.observability.tracing import traceparent
from chassis.service import Service, ServiceDep
from chassis.web.conventions import IdempotencyKey, IfMatch, etag
from chassis.web.problems import Problem, conflict, invalid, stale, unavailable
from tickets.api.access import Authorize
from tickets.api.schemas import Body, NoBody
from tickets.command_bus import Busy, Command, CommandBus, KeyReused, VersionDiffers
from tickets.configuration import rules_in_force
from tickets.domain.events import Events
from tickets.domain.request import Request
from tickets.domain.rules import Invalid, Refused, Rules

Answer = dict[str, Any]
BodyT = TypeVar("BodyT", bound=Body)


@dataclass(frozen=True, slots=True)
class Call(Generic[BodyT]):
    """One call of a command."""

    service: Service
    caller: Identity
    rules: Rules
    request_id: UUID
    body: BodyT
    target: str
    """The second parameter of the path, or an empty string."""
    now: datetime
    new_id: UUID
    """The id of the message that the command creates, if it creates one."""

    @property
    def by(self) -> str:
        """Return the subject of the caller."""
        return self.caller.subject


class Access(NamedTuple):
    """The dependency that checks the caller's role, and the check of the request itself."""

    caller: Any
    authorize: Callable[[Call[Any]], Authorize]


@dataclass(frozen=True, slots=True)
class CommandRoute(Generic[BodyT]):
    """One command: its address, its body, its decision and its authorisation."""

    name: str
    description: str
    body: type[BodyT]
    decide: Callable[[Request, Call[BodyT]], Events]
    access: Access
    path: str = ""
    """The path below the request; the command's name unless given."""
    method: str = "POST"
    status: int = 200
    is_body_optional: bool = False
    opens_request: bool = False
    check: Callable[[Call[BodyT]], object] = lambda _: None
    """Raises `Problem` before the command is executed."""
    answer: Callable[[Call[BodyT]], Mapping[str, Any]] = lambda _: {}
    """Returns further members of the answer."""


class Conditions(NamedTuple):
    """The conditions under which a command is executed."""

    expected_version: int | None
    key: str | None
    request_hash: bytes


async def conditions(
    http: HttpRequest, _: Caller, expected_version: IfMatch, key: IdempotencyKey = None
) -> Conditions:
    """Return the conditions in a request's headers, for authenticated callers only.

    The hash covers method, path and body: a key that comes with another request is refused.
    """
    content = b"%s %s\n%s" % (http.method.encode(), http.url.path.encode(), await http.body())
    return Conditions(expected_version, key, sha256(content).digest())


def register(router: APIRouter, *routes: CommandRoute[Any]) -> None:
    """Add the endpoints of commands to a router of requests."""
    for route in routes:
        path = "" if route.opens_request else f"/{{request_id}}/{route.path or route.name}"
        router.add_api_route(
            path,
            _endpoint(route, path),
            methods=[route.method],
            status_code=route.status,
            name=route.name,
            description=route.description,
        )


def _endpoint(route: CommandRoute[Any], path: str) -> Callable[..., Any]:
    """Return the endpoint of a command, with the signature that FastAPI reads its document from."""
    targets = [name for name in re.findall(r"{(\w+)}", path) if name != "request_id"]

    async def endpoint(
        *,
        service: Service,
        caller: Identity,
        response: Response,
        conditions: Conditions,
        request_id: UUID | None = None,
        body: Body | None = None,
        **target: str,
    ) -> Answer:
        call = Call(
            service=service,
            caller=caller,
            rules=rules_in_force(service.workspaces),
            request_id=request_id or uuid4(),
            body=body or route.body(),
            target="".join(target.values()),
            now=service.clock(),
            new_id=uuid4(),
        )
        route.check(call)
        answer = await _execute(route, call, conditions)
        response.headers["ETag"] = etag(answer["version"])
        if route.opens_request:
            response.headers["Location"] = f"/v1/requests/{answer['id']}"
        return answer

    parameters = dict.fromkeys(targets, str) | {
        "conditions": Annotated[Conditions, Depends(conditions)],
        "caller": route.access.caller,
        "service": ServiceDep,
        "response": Response,
    }
    if not route.opens_request:
        parameters = {"request_id": UUID} | parameters
    signature = [
        Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind)
        for name, kind in parameters.items()
    ]
    if route.is_body_optional:
        signature.append(
            Parameter("body", Parameter.KEYWORD_ONLY, annotation=route.body | None, default=None)
        )
    elif route.body is not NoBody:
        signature.append(Parameter("body", Parameter.KEYWORD_ONLY, annotation=route.body))
    endpoint.__signature__ = Signature(signature, return_annotation=Answer)  # type: ignore[attr-defined]
    return endpoint


async def _execute(route: CommandRoute[Any], call: Call[Any], conditions: Conditions) -> Answer:
    """Execute a command on the bus; raises `Problem` for what the bus or the rules refuse."""
    further = route.answer(call)
    command = Command(
        call.request_id,
        decide=lambda request: route.decide(cast(Request, request), call),
        answer=lambda after: {"id": str(after.id), "version": after.version, **further},
        authorize=route.access.authorize(call),
        expected=conditions.expected_version,
        key=f"{call.by}\n{conditions.key}" if conditions.key else "",
        hash=conditions.request_hash,
        workspace=call.rules.version,
        traceparent=traceparent(),
    )
    bus: CommandBus = call.service.state["commands"]
    try:
        return await bus.execute(command)
    except VersionDiffers as error:
        raise stale(error.current) from None
    except KeyReused:
        detail = "this Idempotency-Key was used for another command"
        raise Problem(422, "idempotency_key_reused", detail) from None
    except Invalid as error:
        raise invalid(
            str(error), at=error.subject, value=error.value, allowed=error.allowed
        ) from None
    except Refused as error:
        raise conflict(error.slug, str(error), **error.extra) from None
    except Busy:
        raise unavailable("the request keeps changing; send the command again") from None
