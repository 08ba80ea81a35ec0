"""Everything Trunkline's services can say, as frozen classes that read and write CloudEvents.

`read` takes what a stream carries; `fact.wire()` gives it back. `BY_NAME` finds a type's class.
Long, because it names every fact once for the union and once for the public surface.
"""

from typing import Annotated, get_args

from pydantic import Field, TypeAdapter, ValidationError

from trunkline_contracts.addresses import mail_address, phone_number
from trunkline_contracts.chats import TelegramChat
from trunkline_contracts.fact import (
    NAMESPACE,
    SLOTS,
    Fact,
    Part,
    Time,
    fact_id,
    slot_of,
    splice,
    wire_name,
)
from trunkline_contracts.ids import contact_id, conversation_key, conversation_name, message_id
from trunkline_contracts.ingest import (
    ContactChanged,
    DeliveryReported,
    MessageEdited,
    MessageReacted,
    MessageReceived,
    MessageRejected,
    RatingReceived,
    RequestOpened,
)
from trunkline_contracts.notify import (
    MessageFailed,
    MessageSent,
    NotificationFailed,
    NotificationSent,
    NotificationSuppressed,
)
from trunkline_contracts.parts import (
    Attachment,
    Clock,
    Contact,
    ContactCard,
    DeliveryState,
    Fields,
    Location,
    Message,
    Mode,
    Presence,
    RequestFact,
    Token,
    TopicBy,
)
from trunkline_contracts.routing import (
    CapacityReached,
    OfferDeclined,
    OfferExpired,
    OperatorPresenceChanged,
    RequestAssigned,
    RequestOffered,
    RequestQueued,
    RequestUnassigned,
)
from trunkline_contracts.sla import (
    Restated,
    TargetBreached,
    TargetCancelled,
    TargetMet,
    TargetSet,
    TargetsRestated,
    TargetWarned,
)
from trunkline_contracts.tickets import (
    AssigneeChanged,
    Closed,
    ContactErased,
    DeliveryRecorded,
    Escalated,
    FieldsChanged,
    Linked,
    Merged,
    MessageAdded,
    MessageChanged,
    MessageReturned,
    NoteAdded,
    Offered,
    Opened,
    Paused,
    PriorityChanged,
    Queued,
    Rated,
    RatingDeleted,
    RatingRequested,
    ReactionChanged,
    ReplySent,
    Resumed,
    StatusChanged,
    SubtaskAdded,
    SubtaskChanged,
    TagAdded,
    TagRemoved,
    TicketsFact,
    TitleChanged,
    TopicChanged,
    TransferRequested,
    Unlinked,
    WatcherAdded,
    WatcherRemoved,
)

AnyFact = Annotated[
    RequestOpened
    | MessageReceived
    | MessageEdited
    | MessageReacted
    | RatingReceived
    | DeliveryReported
    | MessageRejected
    | ContactChanged
    | RequestQueued
    | RequestOffered
    | OfferDeclined
    | OfferExpired
    | RequestAssigned
    | RequestUnassigned
    | CapacityReached
    | OperatorPresenceChanged
    | Opened
    | MessageAdded
    | MessageChanged
    | ReactionChanged
    | MessageReturned
    | TitleChanged
    | TopicChanged
    | PriorityChanged
    | FieldsChanged
    | StatusChanged
    | Paused
    | Resumed
    | Queued
    | Offered
    | AssigneeChanged
    | TransferRequested
    | Escalated
    | ReplySent
    | DeliveryRecorded
    | NoteAdded
    | WatcherAdded
    | WatcherRemoved
    | TagAdded
    | TagRemoved
    | Linked
    | Unlinked
    | Merged
    | SubtaskAdded
    | SubtaskChanged
    | Closed
    | RatingRequested
    | Rated
    | RatingDeleted
    | ContactErased
    | TargetSet
    | TargetWarned
    | TargetBreached
    | TargetMet
    | TargetCancelled
    | TargetsRestated
    | NotificationSent
    | NotificationFailed
    | NotificationSuppressed
    | MessageSent
    | MessageFailed,
    Field(discriminator="type"),
]
"""Any fact there is, told apart by its type."""

WIRE: TypeAdapter[AnyFact] = TypeAdapter(AnyFact)
"""Reads and checks any fact."""

BY_NAME: dict[str, type[Fact]] = {kind.name(): kind for kind in get_args(get_args(AnyFact)[0])}
"""The class of each type on the wire."""


class Unreadable(ValueError):
    """These bytes are no fact we know."""


def read(data: bytes | str) -> Fact:
    """Read a fact from its wire form; what is no fact we know raises `Unreadable`, saying why."""
    try:
        return WIRE.validate_json(data)
    except ValidationError as error:
        raise Unreadable(_why(error)) from None


def _why(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "union_tag_invalid":
        return f"type: no fact is called {first['ctx']['tag']!r}"
    if first["type"] == "union_tag_not_found":
        return "type: missing; a fact is a JSON object of CloudEvents"
    place = ".".join(wire_name(str(part)) for part in first["loc"][1:])
    return f"{first['loc'][0]}: {place}: {first['msg']}" if place else first["msg"]


__all__ = [
    "BY_NAME",
    "NAMESPACE",
    "SLOTS",
    "WIRE",
    "AnyFact",
    "AssigneeChanged",
    "Attachment",
    "CapacityReached",
    "Clock",
    "Closed",
    "Contact",
    "ContactCard",
    "ContactChanged",
    "ContactErased",
    "DeliveryRecorded",
    "DeliveryReported",
    "DeliveryState",
    "Escalated",
    "Fact",
    "Fields",
    "FieldsChanged",
    "Linked",
    "Location",
    "Merged",
    "Message",
    "MessageAdded",
    "MessageChanged",
    "MessageEdited",
    "MessageFailed",
    "MessageReacted",
    "MessageReceived",
    "MessageRejected",
    "MessageReturned",
    "MessageSent",
    "Mode",
    "NoteAdded",
    "NotificationFailed",
    "NotificationSent",
    "NotificationSuppressed",
    "OfferDeclined",
    "OfferExpired",
    "Offered",
    "Opened",
    "OperatorPresenceChanged",
    "Part",
    "Paused",
    "Presence",
    "PriorityChanged",
    "Queued",
    "Rated",
    "RatingDeleted",
    "RatingReceived",
    "RatingRequested",
    "ReactionChanged",
    "ReplySent",
    "RequestAssigned",
    "RequestFact",
    "RequestOffered",
    "RequestOpened",
    "RequestQueued",
    "RequestUnassigned",
    "Restated",
    "Resumed",
    "StatusChanged",
    "SubtaskAdded",
    "SubtaskChanged",
    "TagAdded",
    "TagRemoved",
    "TargetBreached",
    "TargetCancelled",
    "TargetMet",
    "TargetSet",
    "TargetWarned",
    "TargetsRestated",
    "TelegramChat",
    "TicketsFact",
    "Time",
    "TitleChanged",
    "Token",
    "TopicBy",
    "TopicChanged",
    "TransferRequested",
    "Unlinked",
    "Unreadable",
    "WatcherAdded",
    "WatcherRemoved",
    "contact_id",
    "conversation_key",
    "conversation_name",
    "fact_id",
    "mail_address",
    "message_id",
    "phone_number",
    "read",
    "slot_of",
    "splice",
    "wire_name",
]
