"""The facts that Trunkline's services publish, as frozen classes that read and write CloudEvents.

`read` parses a message of a stream, and `fact.wire()` is its inverse. `BY_NAME` maps a type to
its class.
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
"""Any fact, discriminated by its type."""

WIRE: TypeAdapter[AnyFact] = TypeAdapter(AnyFact)
"""The adapter that parses and validates any fact."""

BY_NAME: dict[str, type[Fact]] = {kind.name(): kind for kind in get_args(get_args(AnyFact)[0])}
"""The class of each type on the wire."""


class Unreadable(ValueError):
    """The data is not a known fact; the message has the reason."""


def read(data: bytes | str) -> Fact:
    """Return the fact in a wire form; raise `Unreadable` if it is not a known fact."""
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
    path = ".".join(wire_name(str(part)) for part in first["loc"][1:])
    return f"{first['loc'][0]}: {path}: {first['msg']}" if path else first["msg"]


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
