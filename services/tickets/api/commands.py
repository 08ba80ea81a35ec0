"""The commands on requests: one row each, with its body, its decision and its authorisation.

A new command is one more row. Its decision is a function of `tickets.domain.commands`.
"""

from fastapi import APIRouter

from chassis.web.problems import invalid
from tickets.api import schemas
from tickets.api.access import (
    Commenter,
    Editor,
    authorize_unwatch,
    authorize_watch,
    check_watcher,
    require_assignee,
    require_visible,
)
from tickets.api.command_route import Access, Call, CommandRoute, register
from tickets.command_bus import allow_anyone
from tickets.domain import events as e
from tickets.domain.commands import fields, lifecycle, messages, watchers
from tickets.domain.events import Events
from tickets.domain.request import Request
from trunkline_contracts import contact_id

NEW_REQUEST = Access(Editor, lambda _: allow_anyone)
ASSIGNEE = Access(Editor, lambda call: require_assignee(call.caller))
READER = Access(Commenter, lambda call: require_visible(call.service, call.caller))
ADDING_WATCHER = Access(
    Commenter, lambda call: authorize_watch(call.service, call.caller, _watcher(call))
)
REMOVING_WATCHER = Access(
    Commenter, lambda call: authorize_unwatch(call.service, call.caller, call.target)
)


def _contact(body: schemas.Opening) -> e.Contact:
    """Return the contact of a new request; raises `Problem` without a usable address."""
    address = body.contact.address_on(body.channel)
    if address is None:
        allowed = ["address", "email", "phone", "id"]
        raise invalid("no address to reach the customer", at="body.contact", allowed=allowed)
    id_ = contact_id(body.channel, body.account, address)
    return e.Contact(id_, body.contact.name, address, body.contact.language)


def _check_opening(call: Call[schemas.Opening]) -> None:
    """Raise `Problem` for an unusable contact, and for an unknown channel or account."""
    body = call.body
    _contact(body)
    channels = {
        str(name): items for name, items in call.service.workspaces.current.channels.items()
    }
    if body.channel not in channels:
        allowed = list(channels)
        raise invalid("no such channel", at="body.channel", value=body.channel, allowed=allowed)
    if body.account not in channels[body.channel]:
        allowed = list(channels[body.channel])
        raise invalid("no such account", at="body.account", value=body.account, allowed=allowed)


def _open(_: Request, call: Call[schemas.Opening]) -> Events:
    body = call.body
    draft = e.Opened(
        type=body.type or "",
        channel=body.channel,
        account=body.account,
        contact=_contact(body),
        title=body.title or "",
        topic=body.topic or "",
        priority=body.priority or "",
        status="",
        fields=body.fields,
        message=e.Message(call.new_id, body.description, call.now),
        conversation=body.conversation,
        by=call.by,
    )
    return lifecycle.open_request(call.rules, draft)


def _reply(request: Request, call: Call[schemas.TextBody]) -> Events:
    message = e.Message(call.new_id, call.body.text, call.now)
    return messages.reply(request, message, call.by)


def _watcher(call: Call[schemas.Watcher]) -> str:
    return call.body.watcher or call.by


def _watch(request: Request, call: Call[schemas.Watcher]) -> Events:
    check_watcher(call.service, call.caller, _watcher(call))
    return watchers.watch(request, _watcher(call), call.by)


COMMANDS = (
    CommandRoute(
        "open_request",
        "Open a request on behalf of a customer.",
        schemas.Opening,
        _open,
        NEW_REQUEST,
        status=201,
        opens_request=True,
        check=_check_opening,
    ),
    CommandRoute(
        "reply",
        "Send a reply to the customer.",
        schemas.TextBody,
        _reply,
        ASSIGNEE,
        status=201,
        answer=lambda call: {"message_id": str(call.new_id)},
    ),
    CommandRoute(
        "note",
        "Add an internal note; customers never see it.",
        schemas.TextBody,
        lambda request, call: messages.note(request, call.body.text, call.by),
        READER,
        status=201,
    ),
    CommandRoute(
        "status",
        "Move the request along the status graph of its type.",
        schemas.Status,
        lambda request, call: lifecycle.set_status(request, call.rules, call.body.status, call.by),
        ASSIGNEE,
    ),
    CommandRoute(
        "close",
        "Close the request; it cannot be reopened.",
        schemas.Closing,
        lambda request, call: lifecycle.close(request, call.rules, call.body.resolution, call.by),
        ASSIGNEE,
        is_body_optional=True,
    ),
    CommandRoute(
        "title",
        "Change the title.",
        schemas.Title,
        lambda request, call: fields.set_title(request, call.body.title, call.by),
        ASSIGNEE,
    ),
    CommandRoute(
        "topic",
        "Change the topic.",
        schemas.Topic,
        lambda request, call: fields.set_topic(request, call.rules, call.body.topic, call.by),
        ASSIGNEE,
    ),
    CommandRoute(
        "priority",
        "Change the priority.",
        schemas.Priority,
        lambda request, call: fields.set_priority(request, call.rules, call.body.priority, call.by),
        ASSIGNEE,
    ),
    CommandRoute(
        "fields",
        "Set field values; null removes one.",
        schemas.Fields,
        lambda request, call: fields.set_fields(request, call.rules, call.body.fields, call.by),
        ASSIGNEE,
    ),
    CommandRoute(
        "pause",
        "Pause the clocks of the request.",
        schemas.Pause,
        lambda request, call: lifecycle.pause(request, call.body.reason, call.by),
        ASSIGNEE,
        is_body_optional=True,
    ),
    CommandRoute(
        "resume",
        "Resume the clocks of the request.",
        schemas.NoBody,
        lambda request, call: lifecycle.resume(request, call.by),
        ASSIGNEE,
    ),
    CommandRoute(
        "tag",
        "Add a tag.",
        schemas.Tag,
        lambda request, call: fields.tag(request, call.body.tag, call.by),
        ASSIGNEE,
        path="tags",
    ),
    CommandRoute(
        "untag",
        "Remove a tag.",
        schemas.NoBody,
        lambda request, call: fields.untag(request, call.target, call.by),
        ASSIGNEE,
        path="tags/{name}",
        method="DELETE",
    ),
    CommandRoute(
        "watch",
        "Add a watcher; only the assignee and supervisors add another person.",
        schemas.Watcher,
        _watch,
        ADDING_WATCHER,
        path="watchers",
        is_body_optional=True,
    ),
    CommandRoute(
        "unwatch",
        "Remove a watcher; only the assignee and supervisors remove another person.",
        schemas.NoBody,
        lambda request, call: watchers.unwatch(request, call.target, call.by),
        REMOVING_WATCHER,
        path="watchers/{watcher}",
        method="DELETE",
    ),
)


def router() -> APIRouter:
    """Return the router of all commands."""
    commands = APIRouter(prefix="/v1/requests", tags=["commands"])
    register(commands, *COMMANDS)
    return commands
