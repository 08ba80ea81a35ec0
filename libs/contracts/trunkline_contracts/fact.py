"""The one shape of every fact: a CloudEvents 1.0 envelope on the wire, a flat class in Python.

Long: the envelope and the class are two sides of one form.
"""

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
"""How many slots a stream's keys are spread over. Part of every subject, so it never changes."""

NAMESPACE = UUID("6f1c6f4e-9a55-5e0b-8d0f-5b7a3a0c7e21")
"""The root of every id Trunkline derives; see `fact_id` and `trunkline_contracts.ids`."""

UNNUMBERED = UUID(int=0)
"""The id of a fact its owner has not recorded yet."""

ENVELOPE = frozenset(
    {"id", "type", "time", "sequence", "workspace", "traceparent", "correlationid", "causationid"}
)
"""The fields that travel beside `data`, not in it."""

_RENAMED = {"from_": "from", "request_type": "type"}


def wire_name(field: str) -> str:
    """Give a field's name inside `data` (`from_` is `from`, `request_type` is `type`)."""
    return _RENAMED.get(field, field)


def _place(field: str) -> str | AliasPath:
    return field if field in ENVELOPE else AliasPath("data", wire_name(field))


def slot_of(key: str) -> int:
    """Give the slot, 0 to 15, in which facts of this key travel: crc32 of the key, modulo 16."""
    return crc32(key.encode()) % SLOTS


def fact_id(type_: str, key: str, sequence: int, epoch: int = 0) -> UUID:
    """Derive a fact's id from its owner, key, number and epoch; told twice, it has the same id.

    The epoch is 0 unless the fact was recorded after its owner's PostgreSQL had lost some.
    """
    return UUID(written_id(type_, key, sequence, epoch))


def written_id(type_: str, key: str, sequence: int, epoch: int = 0) -> str:
    """Write the same id: a UUID of version 5, without the detour over Python's class."""
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
"""An aware instant; naive times are refused."""


class Part(BaseModel):
    """A piece of a fact's data. Unknown fields are kept out, so that old readers read new facts."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Fact(BaseModel):
    """A fact that has happened.

    A field may be added, with a default. A changed meaning is a new version of the type.
    `id` and `sequence` are given by the fact's owner when it is recorded.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        alias_generator=AliasGenerator(validation_alias=_place, serialization_alias=wire_name),
    )

    key: ClassVar[str] = "request_id"
    """The field facts of this kind are numbered by; it is the envelope's `subject`."""
    unsaid: ClassVar[frozenset[str]] = frozenset()
    """Fields `data` leaves out, because the envelope already says them."""
    _beside: ClassVar[set[str]] = set(ENVELOPE)
    type: str
    id: UUID = UNNUMBERED
    time: Time
    sequence: int = Field(default=0, ge=0)
    workspace: int = Field(default=0, ge=0)
    traceparent: str | None = None
    correlationid: str | None = None
    causationid: str | None = None

    @classmethod
    def name(cls) -> str:
        """The wire's name of this kind of fact, such as `trunkline.tickets.v1.opened`."""
        return str(cls.model_fields["type"].default)

    @property
    def subject(self) -> str:
        """The key's value: what the fact is about, and what it is numbered by."""
        return str(getattr(self, self.key))

    @property
    def nats_subject(self) -> str:
        """The subject it travels under: type, slot, key."""
        key = self.subject
        return f"{self.type}.{slot_of(key):02d}.{key}"

    def numbered(self, sequence: int) -> Self:
        """Give the same fact as its owner recorded it."""
        return self.model_copy(
            update={"sequence": sequence, "id": fact_id(self.type, self.subject, sequence)}
        )

    def body(self) -> bytes:
        """The part of the wire form that does not depend on the number: time, context and data."""
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
        return self.__pydantic_serializer__.to_json(self, by_alias=True, exclude=self._beside)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Settle once which fields travel beside `data`."""
        cls._beside = set(ENVELOPE | cls.unsaid)

    def wire(self) -> bytes:
        """The whole wire form: CloudEvents 1.0, structured JSON."""
        id_ = "" if self.id == UNNUMBERED else str(self.id)
        return splice(self.type, self.subject, self.sequence, self.body(), id_)


def splice(type_: str, key: str, sequence: int, body: bytes, id_: str = "") -> bytes:
    """Put the envelope around a recorded body unread: what is unreadable stays visible.

    Whoever has written the id already may say it.
    """
    head = (
        f'{{"specversion":"1.0","id":"{id_ or written_id(type_, key, sequence)}",'
        f'"source":"trunkline/{type_.split(".", 2)[1]}","type":"{type_}","subject":"{key}",'
        f'"sequence":{sequence},"datacontenttype":"application/json",'
    )
    return head.encode() + body[1:]


def of_key(field: str) -> Any:
    """Declare the key's field, as in `Annotated[UUID, of_key("request_id")]`.

    It is read from `data`, or else from the envelope's `subject`.
    """
    return Field(validation_alias=AliasChoices(AliasPath("data", field), "subject"))
