"""Applying a workspace: the next version, published only if nobody else published one meanwhile."""

import json
from typing import Any

from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from trunkline_workspace.checks import removed_ids
from trunkline_workspace.document import Workspace
from trunkline_workspace.reading import InvalidWorkspace, parse

STREAM, SUBJECT = "WORKSPACE", "workspace.v"
RAW_DELIVERIES = "INBOUND"
OUTRUN = 10071


class Conflict(ValueError):
    """Somebody else has applied a workspace meanwhile: look at it, and apply again."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.__doc__)


async def standing(js: JetStreamContext) -> tuple[int, dict[str, Any] | None, int]:
    """Give the stream's newest version, its document, and the stream's last sequence."""
    state = (await js.stream_info(STREAM)).state
    if not state.messages:
        return 0, None, state.last_seq
    told = json.loads((await js.get_msg(STREAM, seq=state.last_seq)).data or b"{}")
    return int(told["version"]), told["document"], state.last_seq


async def publish(js: JetStreamContext, version: int, document: object, last: int) -> int:
    """Put one version behind the stream's last message; gives the new one's sequence."""
    body = json.dumps({"version": version, "document": document}, ensure_ascii=False).encode()
    headers = {"Nats-Expected-Last-Sequence": str(last)}
    try:
        return (await js.publish(SUBJECT, body, headers=headers, timeout=5)).seq
    except APIError as why:
        if why.err_code == OUTRUN:
            raise Conflict from None
        raise


async def newest(js: JetStreamContext) -> tuple[int, Workspace | None]:
    """Give the version last applied; 0 and nothing when there is none."""
    version, document, _ = await standing(js)
    return version, parse(document) if document is not None else None


async def apply(js: JetStreamContext, workspace: Workspace, *, recorded: int = 0) -> int:
    """Publish a workspace as the next version, and give its number.

    `recorded` is the newest version the record knows: a stream that lost it is filled again first.
    """
    version, document, last = await standing(js)
    if version < recorded:
        raise Conflict(f"the stream has version {version}, the record {recorded}: try again soon")
    if document is not None and (gone := removed_ids(parse(document), workspace)):
        raise InvalidWorkspace(gone)
    await publish(js, version + 1, workspace.document(), last)
    await _retain(js, workspace)
    return version + 1


async def _retain(js: JetStreamContext, workspace: Workspace) -> None:
    """Let raw deliveries live as long as the workspace says."""
    try:
        config = (await js.stream_info(RAW_DELIVERIES)).config
    except NotFoundError:
        return
    age = workspace.retention.inbound.total_seconds()
    if config.max_age != age:
        await js.update_stream(config.evolve(max_age=age))
