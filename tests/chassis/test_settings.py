"""What a service can be told, and where secrets are found."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from chassis.settings import Settings, resolve_secret


def test_settings_read_environment_and_hide_database_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SERVICE_DATABASE_URL", "postgresql://tickets:hidden@db/trunkline")
    monkeypatch.setenv("READERS", "4")
    monkeypatch.setenv("LOG_LEVEL", "debug")

    settings = Settings()

    assert settings.service_database_url.get_secret_value().endswith("hidden@db/trunkline")
    assert "hidden" not in repr(settings)
    assert (settings.readers, settings.log_level) == (4, "DEBUG")


@pytest.mark.parametrize("readers", ["0", "3", "32"])
def test_slots_are_split_evenly_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, readers: str
) -> None:
    monkeypatch.setenv("READERS", readers)

    with pytest.raises(ValidationError, match=f"one of 1, 2, 4, 8, 16, not {readers}"):
        Settings()


@pytest.mark.parametrize("url", ["ftp://keys", "jwks.json", "file:"])
def test_keys_come_from_a_file_or_over_http(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("JWKS_URL", url)

    with pytest.raises(ValidationError, match="jwks_url"):
        Settings()


REMOTE = "https://id.test/jwks?key=hidden"
ISSUER, AUDIENCE = {"JWT_ISSUER": "https://id.test/"}, {"JWT_AUDIENCE": "desk"}


@pytest.mark.parametrize(
    ("given", "lacking"),
    [
        ({}, "JWT_ISSUER and JWT_AUDIENCE must be set, because JWKS_URL is https://id.test/jwks"),
        (ISSUER, "JWT_AUDIENCE must be set"),
        (AUDIENCE, "JWT_ISSUER must be set"),
        (ISSUER | {"JWT_AUDIENCE": ""}, "JWT_AUDIENCE must be set"),
        (ISSUER | {"JWT_AUDIENCE": "trunkline-sdk"}, "JWT_AUDIENCE must not be trunkline-sdk"),
    ],
)
def test_remote_keys_without_issuer_or_audience_are_refused(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], lacking: str
) -> None:
    for name, value in {"JWKS_URL": REMOTE, **given}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError, match=lacking) as refusal:
        Settings()

    assert "hidden" not in str(refusal.value)


@pytest.mark.parametrize("given", [{"JWKS_URL": REMOTE, **ISSUER, **AUDIENCE}, ISSUER, {}])
def test_issuer_and_audience_with_a_file_are_optional(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    for name, value in {"JWKS_URL": "file:/run/jwks.json", **given}.items():
        monkeypatch.setenv(name, value)

    assert Settings().jwt_issuer == given.get("JWT_ISSUER", "")


def test_a_refused_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "hunter2")

    with pytest.raises(ValidationError) as refusal:
        Settings()

    assert "hunter2" not in str(refusal.value)


def test_secrets_are_found_by_reference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NEW_SECRET", "new")
    (tmp_path / "old").write_text("old\n")

    assert resolve_secret("env:NEW_SECRET") == ["new"]
    assert resolve_secret(["env:NEW_SECRET", f"file:{tmp_path / 'old'}"]) == ["new", "old"]


@pytest.mark.parametrize(
    "reference", [None, "", [], "env:ABSENT", "env:EMPTY", "file:/absent/secret", "plain-secret"]
)
def test_a_missing_secret_opens_nothing(
    monkeypatch: pytest.MonkeyPatch, reference: str | list[str] | None
) -> None:
    monkeypatch.setenv("EMPTY", "")

    assert resolve_secret(reference) == []
