"""Conversion of contract facts into stored events, by field name."""

from typing import Any, TypeVar

import msgspec
from pydantic import BaseModel

from trunkline_contracts.fact import ENVELOPE, Fact

Stored = TypeVar("Stored", bound=msgspec.Struct)


def from_fact(kind: type[Stored], fact: BaseModel, **others: Any) -> Stored:
    """Return a stored value with the fields of the same wire name in a fact or in a part of one.

    Fields that the stored value does not have are left out; for nulls its defaults, or `others`,
    are taken. Raises `msgspec.ValidationError` when a required field is in neither.
    """
    envelope = set(ENVELOPE) if isinstance(fact, Fact) else None
    data = fact.model_dump(by_alias=True, exclude=envelope)
    present = {name: value for name, value in data.items() if value is not None}
    return msgspec.convert({**others, **present}, kind)
