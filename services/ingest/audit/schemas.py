"""Bodies of the ledger's API."""

from pydantic import BaseModel, ConfigDict, Field

from ingest.audit.queries import MAX_BIGINT


class Losses(BaseModel):
    """Losses that a person has looked into."""

    model_config = ConfigDict(extra="forbid", strict=True)

    lost: int = Field(ge=0, le=MAX_BIGINT, description="All losses, as the ledger has them.")
    reason: str = Field(min_length=1, max_length=500)
