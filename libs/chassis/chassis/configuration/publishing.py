"""Publish a workspace as the next version, unless another one was published meanwhile."""

import json
import logging
from typing import Any

from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from trunkline_workspace.checks import removed_ids
from trunkline_workspace.document import Workspace
from trunkline_workspace.reading import InvalidWorkspace, parse

STREAM, SUBJECT = "WORKSPACE", "workspace.v"
RAW_DELIVERIES = "INBOUND"
WRONG_LAST_SEQUENCE = 10071
MAX_VERSION = 2**31 - 1
"""The largest version that the table can hold."""

log = logging.getLogger(__name__)


class Conflict(ValueError):
    """Another workspace has been applied meanwhile: review it, and apply again."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.__doc__)


def version_of(data: bytes) -> tuple[int, dict[str, Any]] | None:
    """Return the version and the document of a message; None for another form."""
    try:
        body = json.loads(data)
        version, document = body["version"], body["document"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    is_version = type(version) is int and 0 < version <= MAX_VERSION
    return (version, document) if is_version and isinstance(document, dict) else None


def parse_or_none(document: dict[str, Any]) -> Workspace | None:
    """Return the workspace of a document; None for an invalid one."""
    try:
        return parse(document)
    except InvalidWorkspace:
        return None


async def newest_in_stream(js: JetStreamContext) -> tuple[int, dict[str, Any] | None, int]:
    """Return the newest valid version, its document, and the stream's last sequence.

    Messages behind it that are no valid versions are skipped.
    """
    state = (await js.stream_info(STREAM)).state
    found, foreign = None, 0
    for sequence in range(state.last_seq, max(state.first_seq, 1) - 1, -1):
        try:
            message = await js.get_msg(STREAM, seq=sequence)
        except NotFoundError:
            continue
        found = version_of(message.data or b"")
        if found is not None and parse_or_none(found[1]) is not None:
            break
        found, foreign = None, foreign + 1
    if foreign:
        log.warning("%s: the last %s messages are no versions of a workspace", STREAM, foreign)
    version, document = found or (0, None)
    return version, document, state.last_seq


async def publish(js: JetStreamContext, version: int, document: object, last: int) -> int:
    """Publish a version, if `last` is the stream's last sequence; return the new sequence.

    Raises `Conflict` otherwise.
    """
    body = json.dumps({"version": version, "document": document}, ensure_ascii=False).encode()
    headers = {"Nats-Expected-Last-Sequence": str(last)}
    try:
        return (await js.publish(SUBJECT, body, headers=headers, timeout=5)).seq
    except APIError as why:
        if why.err_code == WRONG_LAST_SEQUENCE:
            raise Conflict from None
        raise


async def newest(js: JetStreamContext) -> tuple[int, Workspace | None]:
    """Return the newest version and its number; None and 0 without any."""
    version, document, _ = await newest_in_stream(js)
    return version, parse(document) if document is not None else None


async def apply(js: JetStreamContext, workspace: Workspace, *, recorded: int = 0) -> int:
    """Publish a workspace as the next version; return its number.

    `recorded` is the newest version in the record; a stream that lost it must be refilled first.
    Raises `Conflict`, and `InvalidWorkspace` when ids were removed.
    """
    version, document, last = await newest_in_stream(js)
    if version < recorded:
        raise Conflict(
            f"the stream has version {version}, the record {recorded}: try again shortly"
        )
    if document is not None and (gone := removed_ids(parse(document), workspace)):
        raise InvalidWorkspace(gone)
    await publish(js, version + 1, workspace.document(), last)
    await _retain(js, workspace)
    return version + 1


async def _retain(js: JetStreamContext, workspace: Workspace) -> None:
    """Set the retention of raw deliveries to the workspace's."""
    try:
        config = (await js.stream_info(RAW_DELIVERIES)).config
    except NotFoundError:
        return
    age = workspace.retention.inbound.total_seconds()
    if config.max_age != age:
        await js.update_stream(config.evolve(max_age=age))
