"""The OpenAPI document: FastAPI's, completed by what applies to all operations.

Every error is a problem document, and every secured operation may answer 401 and 403.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from chassis.web.json_schema import hoist_defs
from chassis.web.problems import MEDIA_TYPE

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "Problem details as defined by RFC 9457; `type` is a stable slug.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "Each invalid value.",
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
UNKNOWN = {"description": "The token is missing or not valid."}
FORBIDDEN = {"description": "The token's roles do not allow it."}
INVALID = {"description": "A value is invalid; the problem names it and the allowed ones."}


def operation_id(route: APIRoute) -> str:
    """Return an operation's id, for generated clients: tag and function name."""
    return "_".join([*map(str, route.tags[:1]), route.name])


def install(app: FastAPI) -> None:
    """Complete the app's document when it is first requested."""
    framework_openapi = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = complete(framework_openapi())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add to every operation what applies to all of them."""
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
        "Problem": {
            "description": "The request failed; the problem has the reason.",
            "content": CONTENT,
        }
    }
    return whole


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every operation of a document."""
    for path in document["paths"].values():
        yield from (value for value in path.values() if isinstance(value, dict))


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
