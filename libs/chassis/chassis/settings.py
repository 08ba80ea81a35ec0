"""The settings that all services share, and the resolution of secret references."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.auth.signing import DEVICE_AUDIENCE
from chassis.messaging.slots import SLOT_GROUPS

SECRET_REFERENCE = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$"  # noqa: S105 - names one, is none
"""The form of a reference to a secret. Configuration never holds the secret itself."""


class Settings(BaseSettings):
    """The settings of every service, read from environment variables of the same names.

    A service with settings of its own subclasses this in its `settings.py`. The defaults are those
    of `trunkline up`. `OTEL_*` is read by OpenTelemetry itself.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    nats_url: str = "nats://127.0.0.1:8022"
    nats_monitor_url: str = ""
    """Base URL of NATS' monitoring, for `/jsz`; empty where it cannot be reached."""
    nats_creds_dir: Path = Path(".trunkline/creds")
    """Folder of the NATS users' seeds, `<user>.nk`."""
    service_database_url: SecretStr = SecretStr("postgresql://127.0.0.1:8032/trunkline")
    jwks_url: str = Field(default="", pattern=r"^((file:|https?://).+)?$")
    """URL of the token issuer's public keys; empty: every token is refused."""
    jwt_issuer: str = ""
    """The `iss` that tokens must have; empty: any or none."""
    jwt_audience: str = ""
    """The `aud` that tokens must have; empty: `trunkline`, or no `aud`."""
    sink_url: str = Field(default="http://127.0.0.1:8009", pattern=r"^https?://.+")
    """The URL that `sink` stands for in the workspace."""
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    readers: int = 1
    """The number of slot groups of each stream, which replicas share. Consumers must be provisioned
    for the same number."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("readers")
    @classmethod
    def _splits_evenly(cls, value: int) -> int:
        if value not in SLOT_GROUPS:
            allowed = ", ".join(map(str, SLOT_GROUPS))
            raise ValueError(f"READERS must be one of {allowed}, not {value}")
        return value

    @model_validator(mode="after")
    def _trusts_one_issuer(self) -> Self:
        """Refuse a remote issuer without issuer and audience: it signs tokens for others, too."""
        given = {"JWT_ISSUER": self.jwt_issuer, "JWT_AUDIENCE": self.jwt_audience}
        lacking = " and ".join(name for name, value in given.items() if not value)
        where = self.jwks_url.partition("?")[0]
        if lacking and self.jwks_url.startswith("http"):
            raise ValueError(f"{lacking} must be set, because JWKS_URL is {where}")
        if self.jwt_audience == DEVICE_AUDIENCE:
            raise ValueError(f"JWT_AUDIENCE must not be {DEVICE_AUDIENCE}: devices' tokens have it")
        return self

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value


def resolve_secret(reference: str | Sequence[str] | None) -> list[str]:
    """Return the secrets behind a reference: two while one replaces the other.

    A missing, empty or unreadable secret is left out, so a comparison with the result refuses
    everything. Each call looks them up again: a file may change while the service runs.
    """
    references = [reference] if isinstance(reference, str) else reference or []
    return [secret for item in references if (secret := _look_up(item))]


def _look_up(reference: str) -> str | None:
    kind, _, name = reference.partition(":")
    if kind == "env":
        return os.environ.get(name)
    if kind == "file":
        try:
            return Path(name).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
    return None
