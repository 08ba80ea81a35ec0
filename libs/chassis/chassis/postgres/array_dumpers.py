"""Dump lists as array parameters, for `unnest(%b::uuid[], …)`: a whole column at once.

psycopg calls a dumper for each element, and quotes text; for our batches that was most of the cost
of a transaction in the service. This applies only to `%b`, and only to lists of one plain type with
or without None; everything else is left to psycopg.
"""

import struct
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg.abc import DumperKey
from psycopg.adapt import AdaptersMap, Buffer, PyFormat
from psycopg.errors import DataError
from psycopg.postgres import adapters
from psycopg.types.array import BaseListDumper, ListBinaryDumper, ListDumper

Encode = Callable[[Any], bytes]

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
NULL = b"\xff\xff\xff\xff"
_head = struct.Struct("!IIIII").pack
_length = struct.Struct("!i").pack
_int8 = struct.Struct("!iq").pack
_float8 = struct.Struct("!id").pack
UUID_LENGTH = _length(16)


def _bytes(value: bytes) -> bytes:
    return _length(len(value)) + value


def _text(value: str) -> bytes:
    return _bytes(value.encode())


def _uuid(value: UUID) -> bytes:
    return UUID_LENGTH + value.bytes


def _bool(value: bool) -> bytes:  # noqa: FBT001 (the value to encode)
    return b"\0\0\0\1\1" if value else b"\0\0\0\1\0"


def _instant(value: datetime) -> bytes:
    since = value - EPOCH
    return _int8(8, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


ENCODERS: dict[type, tuple[str, Encode]] = {
    bytes: ("bytea", _bytes),
    str: ("text", _text),
    UUID: ("uuid", _uuid),
    bool: ("bool", _bool),
    int: ("int8", lambda value: _int8(8, value)),
    float: ("float8", lambda value: _float8(8, value)),
    datetime: ("timestamptz", _instant),
}
"""PostgreSQL's type and encoding by Python type. Integers go as int8; the SQL casts them."""


class ArrayDumper(ListBinaryDumper):
    """Dumps a list of one plain type in binary."""

    def __init__(self, cls: type, context: Any = None) -> None:
        super().__init__(cls, context)
        self._element = 0
        self._encode: Encode | None = None

    def get_key(self, obj: list[Any], format: PyFormat) -> DumperKey:
        kind = _element_type(obj)
        return super().get_key(obj, format) if kind is None else (self.cls, ArrayDumper, kind)

    def upgrade(self, obj: list[Any], format: PyFormat) -> BaseListDumper:
        kind = _element_type(obj)
        if kind is None:
            return super().upgrade(obj, format)
        name, encode = ENCODERS[kind]
        info = adapters.types[name]
        dumper = ArrayDumper(self.cls, self._tx)
        dumper.oid, dumper._element, dumper._encode = info.array_oid, info.oid, encode
        return dumper

    def dump(self, obj: list[Any]) -> Buffer | None:
        if self._encode is None:
            return super().dump(obj)
        try:
            elements = _encode_all(self._encode, obj)
        except (struct.error, TypeError) as why:  # a number out of range; a datetime without a zone
            raise DataError(str(why)) from why
        return _head(1, 1, self._element, len(obj), 1) + b"".join(elements)


def _encode_all(encode: Encode, values: Iterable[Any]) -> list[bytes]:
    return [NULL if value is None else encode(value) for value in values]


def _element_type(values: list[Any]) -> type | None:
    kinds = set(map(type, values))
    kinds.discard(type(None))
    kind: type | None = kinds.pop() if len(kinds) == 1 else None
    return kind if kind in ENCODERS else None


ARRAY_ADAPTERS = AdaptersMap(adapters)
"""The adapters of all service connections."""
ARRAY_ADAPTERS.register_dumper(list, ArrayDumper)
ARRAY_ADAPTERS.register_dumper(list, ListDumper)  # … so that a plain `%s` is unchanged
