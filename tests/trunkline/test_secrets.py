"""The instance's key and secrets: made once, private, and in the form their readers expect."""

import base64
import json
import os
import re
import stat
from pathlib import Path

import jwt
import pytest
from ruamel.yaml import YAML

from trunkline import secret_values
from trunkline.tokens import MAX_TOKEN_LIFETIME, Signer

WORKSPACE = YAML(typ="safe", pure=True).load("""
channels:
  telegram: {main: {secret: env:TELEGRAM_MAIN_SECRET, token: env:TELEGRAM_MAIN_TOKEN}}
  custom: {acme: {secret: [env:CUSTOM_ACME_SECRET, env:CUSTOM_ACME_OLD], url: sink}}
webhooks: {audit: {url: sink, secret: env:WEBHOOK_AUDIT_SECRET}}
""")


def test_a_token_is_good_by_the_published_key(tmp_path: Path) -> None:
    Signer(tmp_path)
    signer = Signer(tmp_path)
    keys = jwt.PyJWKSet.from_json(signer.jwks_file.read_text())
    token = signer.token("anna", ["operator"])
    claims = jwt.decode(token, keys[jwt.get_unverified_header(token)["kid"]], ["EdDSA"])

    assert claims["sub"] == "anna"
    assert claims["roles"] == ["operator"]
    assert claims["exp"] - claims["iat"] == MAX_TOKEN_LIFETIME.total_seconds()
    assert stat.S_IMODE(signer.key_file.stat().st_mode) == 0o600
    assert "d" not in json.loads(signer.jwks_file.read_text())["keys"][0]


def test_every_reference_gets_a_secret_of_its_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("TELEGRAM", "CUSTOM", "WEBHOOK"))]:
        monkeypatch.delenv(name)
    made = secret_values.ensure(tmp_path / "secrets.env", WORKSPACE, ("DOOR",))

    assert set(made) == {
        "TELEGRAM_MAIN_SECRET",
        "TELEGRAM_MAIN_TOKEN",
        "CUSTOM_ACME_SECRET",
        "CUSTOM_ACME_OLD",
        "WEBHOOK_AUDIT_SECRET",
        "DOOR",
    }
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,256}", made["TELEGRAM_MAIN_SECRET"])
    for name in ("CUSTOM_ACME_SECRET", "CUSTOM_ACME_OLD", "WEBHOOK_AUDIT_SECRET"):
        assert made[name].startswith("whsec_")
        assert len(base64.b64decode(made[name].removeprefix("whsec_"), validate=True)) == 32


def test_secrets_are_private_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secrets.env"
    first = secret_values.ensure(file, WORKSPACE)
    monkeypatch.setenv("NEW_SECRET", "given")
    second = secret_values.ensure(file, WORKSPACE, ("NEW_SECRET",))

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert second == first | {"NEW_SECRET": "given"}
    monkeypatch.setenv("NEW_SECRET", "changed")
    second = secret_values.ensure(file, WORKSPACE, ("NEW_SECRET",))
    assert second == first | {"NEW_SECRET": "changed"}
    monkeypatch.delenv("NEW_SECRET")
    assert secret_values.ensure(file, WORKSPACE, ("NEW_SECRET",)) == second
    assert file.read_text().splitlines() == [f"{name}={value}" for name, value in second.items()]
