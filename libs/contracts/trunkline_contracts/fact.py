"""The shape of every fact: a CloudEvents 1.0 envelope on the wire, a flat class in Python."""

from datetime import UTC, datetime
from hashlib import sha1
from json.encoder import encode_basestring_ascii as quoted
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID
from zlib import crc32

from pydantic import (
    AliasChoices,
    AliasGenerator,
    AliasPath,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
)

SLOTS = 16
"""The slots that keys are spread over. Part of every subject, so it never changes."""

NAMESPACE = UUID("6f1c6f4e-9a55-5e0b-8d0f-5b7a3a0c7e21")
"""The namespace of derived ids; see `fact_id` and `trunkline_contracts.ids`."""

UNRECORDED_ID = UUID(int=0)
"""The id of a fact that its service has not recorded yet."""

ENVELOPE = frozenset(
    {"id", "type", "time", "sequence", "workspace", "traceparent", "correlationid", "causationid"}
)
"""The fields of the envelope, outside of `data`."""

_WIRE_NAMES = {"from_": "from", "request_type": "type"}


def wire_name(field: str) -> str:
    """Return a field's name inside `data` (`from_` is `from`, `request_type` is `type`)."""
    return _WIRE_NAMES.get(field, field)


def _validation_alias(field: str) -> str | AliasPath:
    return field if field in ENVELOPE else AliasPath("data", wire_name(field))


def slot_of(key: str) -> int:
    """Return the slot of a key, 0 to 15: its CRC-32 modulo 16."""
    return crc32(key.encode()) % SLOTS


def fact_id(type_: str, key: str, sequence: int, epoch: int = 0) -> UUID:
    """Return a fact's id, from service, key, sequence and epoch; a republished fact keeps its id.

    The epoch is 0 unless the fact was recorded after its service's PostgreSQL had lost facts.
    """
    return UUID(fact_id_text(type_, key, sequence, epoch))


def fact_id_text(type_: str, key: str, sequence: int, epoch: int = 0) -> str:
    """Return the same id as text: a version 5 UUID, computed without `uuid.UUID` for speed."""
    name = f"{type_.split('.', 2)[1]}:{key}:{sequence}"
    if epoch:
        name = f"{name}:{epoch}"
    digest = bytearray(sha1(NAMESPACE.bytes + name.encode(), usedforsecurity=False).digest())
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"


def _utc(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


Time = Annotated[AwareDatetime, PlainSerializer(_utc, return_type=str, when_used="json")]
"""A time with a time zone; naive times are refused."""


class Part(BaseModel):
    """A part of a fact's data. Unknown fields are ignored, so old readers can read new facts."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Fact(BaseModel):
    """An event that a service publishes.

    Fields may be added, with a default. A changed meaning is a new version of the type. The
    service sets `id` and `sequence` when it records the fact.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        alias_generator=AliasGenerator(
            validation_alias=_validation_alias, serialization_alias=wire_name
        ),
    )

    key: ClassVar[str] = "request_id"
    """The field that facts of this type are numbered by; the envelope's `subject`."""
    only_in_envelope: ClassVar[frozenset[str]] = frozenset()
    """Fields that are left out of `data`, because the envelope has them."""
    _not_in_data: ClassVar[set[str]] = set(ENVELOPE)
    type: str
    id: UUID = UNRECORDED_ID
    time: Time
    sequence: int = Field(default=0, ge=0)
    workspace: int = Field(default=0, ge=0)
    traceparent: str | None = None
    correlationid: str | None = None
    causationid: str | None = None

    @classmethod
    def name(cls) -> str:
        """Return the type on the wire, such as `trunkline.tickets.v1.opened`."""
        return str(cls.model_fields["type"].default)

    @property
    def subject(self) -> str:
        """The value of the key."""
        return str(getattr(self, self.key))

    @property
    def nats_subject(self) -> str:
        """The NATS subject: type, slot, key."""
        key = self.subject
        return f"{self.type}.{slot_of(key):02d}.{key}"

    def numbered(self, sequence: int) -> Self:
        """Return the fact with its sequence and the id that follows from it."""
        return self.model_copy(
            update={"sequence": sequence, "id": fact_id(self.type, self.subject, sequence)}
        )

    def body(self) -> bytes:
        """Return the part of the wire form without id and sequence: time, context and data."""
        context = "".join(
            f'"{name}":{quoted(value)},'
            for name, value in (
                ("traceparent", self.traceparent),
                ("correlationid", self.correlationid),
                ("causationid", self.causationid),
            )
            if value is not None
        )
        if self.workspace:
            context = f'"workspace":{self.workspace},{context}'
        head = f'{{"time":"{_utc(self.time)}",{context}"data":'
        return head.encode() + self._data() + b"}"

    def _data(self) -> bytes:
        return self.__pydantic_serializer__.to_json(self, by_alias=True, exclude=self._not_in_data)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Compute once the fields that are outside of `data`."""
        cls._not_in_data = set(ENVELOPE | cls.only_in_envelope)

    def wire(self) -> bytes:
        """Return the wire form: CloudEvents 1.0 in structured JSON."""
        id_ = "" if self.id == UNRECORDED_ID else str(self.id)
        return splice(self.type, self.subject, self.sequence, self.body(), id_)


def splice(type_: str, key: str, sequence: int, body: bytes, id_: str = "") -> bytes:
    """Return the wire form of a recorded body, which is not parsed.

    So a body that cannot be read is still published and can be seen. `id_` saves computing the id.
    """
    head = (
        f'{{"specversion":"1.0","id":"{id_ or fact_id_text(type_, key, sequence)}",'
        f'"source":"trunkline/{type_.split(".", 2)[1]}","type":"{type_}","subject":"{key}",'
        f'"sequence":{sequence},"datacontenttype":"application/json",'
    )
    return head.encode() + body[1:]


def key_field(field: str) -> Any:
    """Declare the key's field, as in `Annotated[UUID, key_field("request_id")]`.

    The value is read from `data`, or else from the envelope's `subject`.
    """
    return Field(validation_alias=AliasChoices(AliasPath("data", field), "subject"))
