"""The OpenAPI document: what FastAPI knows of the addresses, and what is true of all of them.

Every refusal is a problem document, every secured address may answer 401 and 403, and what plain
routes say of their bodies is put in its place.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from chassis.web.json_schema import hoist_defs
from chassis.web.problems import MEDIA_TYPE

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "Problem details as RFC 9457 has them; `type` is a stable slug.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "Each value that cannot be taken.",
            "items": {
                "type": "object",
                "required": ["at", "problem"],
                "properties": {
                    "at": {"type": "string"},
                    "problem": {"type": "string"},
                    "value": {},
                    "allowed": {},
                },
            },
        },
    },
    "additionalProperties": True,
}
DPOP = {
    "type": "http",
    "scheme": "dpop",
    "bearerFormat": "JWT",
    "description": "A token bound to a device's key, with a proof in the header `DPoP` (RFC 9449).",
}
CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
DEFAULT = {"$ref": "#/components/responses/Problem"}
UNKNOWN = {"description": "Nobody, or nobody known: the token is missing or not valid."}
FORBIDDEN = {"description": "The token's roles do not allow it."}
INVALID = {"description": "A value cannot be taken; the problem names it and what is allowed."}


def operation_id(route: APIRoute) -> str:
    """Name an operation for generated clients: by its room and its function."""
    return "_".join([*map(str, route.tags[:1]), route.name])


def install(app: FastAPI) -> None:
    """Have the app's document completed when it is first asked for."""
    told = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = complete(told())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI's own pages show


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Say of every address what is true of all of them."""
    components = document.setdefault("components", {})
    schemas = components.pop("schemas", {})
    for framework in ("HTTPValidationError", "ValidationError"):
        schemas.pop(framework, None)
    whole: dict[str, Any] = hoist_defs(document, schemas)
    for operation in operations(whole):
        _responses(operation)
        if {"DPoP": []} in operation.get("security", ()):
            whole["components"].setdefault("securitySchemes", {})["DPoP"] = DPOP
    whole["paths"] = dict(sorted(whole["paths"].items()))
    schemas["Problem"] = PROBLEM
    whole["components"]["schemas"] = dict(sorted(schemas.items()))
    whole["components"]["responses"] = {
        "Problem": {"description": "It was not done, and why.", "content": CONTENT}
    }
    return whole


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give every operation of a document."""
    for path in document["paths"].values():
        yield from (each for each in path.values() if isinstance(each, dict))


def _responses(operation: dict[str, Any]) -> None:
    responses: dict[str, Any] = operation["responses"]
    if operation.get("security"):
        responses.setdefault("401", UNKNOWN)
        responses.setdefault("403", FORBIDDEN)
    if "422" in responses:
        framework = "HTTPValidationError" in str(responses["422"])
        responses["422"] = INVALID if framework else responses["422"]
    for status, response in responses.items():
        if status.isdigit() and int(status) >= 400 and "content" not in response:
            responses[status] = response | {"content": CONTENT}
    responses["default"] = DEFAULT
    operation["responses"] = dict(sorted(responses.items()))
