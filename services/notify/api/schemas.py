"""Bodies of the HTTP API."""

from uuid import UUID

from pydantic import BaseModel


class Read(BaseModel):
    """The notifications that were read; all of them without `ids`."""

    ids: list[UUID] | None = None
