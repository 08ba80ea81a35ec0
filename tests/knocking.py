"""How each platform knocks at its door: what it shows, and a first message of it on file."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from corpus import Case, cases
from world import EXAMPLE

from ingest.gateway.endpoints import ENDPOINTS

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

NEW, OLD, GONE = "new", "old", "gone"
"""Of each account's secrets: two that live, one that lives no more."""


def whole(name: str) -> Callable[[str, bytes], dict[str, str]]:
    """Show the secret itself."""
    return lambda secret, _: {name: secret}


def mac(secret: str, body: bytes) -> str:
    """Sign a body."""
    return hmac.digest(secret.encode(), body, sha256).hex()


def hub(secret: str, body: bytes) -> dict[str, str]:
    """Sign as Meta does."""
    return {"X-Hub-Signature-256": f"sha256={mac(secret, body)}"}


@dataclass(frozen=True)
class Door:
    """One platform's door, and how its secret is declared in the example workspace."""

    name: str
    path: str
    variable: str
    show: Callable[[str, bytes], dict[str, str]]
    file: str = "text"

    @property
    def case(self) -> Case:
        """A message on file, with the item it becomes."""
        folder = "custom" if self.name == "connectiveone" else self.name
        return next(each for each in cases(folder) if each.path.stem == self.file)

    @property
    def limit(self) -> int:
        """Bytes a body may have."""
        return next(each.max_body_bytes for each in ENDPOINTS if each.name == self.name)

    def secret(self, age: str) -> str:
        """Give one of the account's secrets."""
        return f"{self.variable.lower()}-{age}"

    async def knock(
        self, http: httpx.AsyncClient, body: Any = None, secret: str | None = None, path: str = ""
    ) -> httpx.Response:
        """Deliver a body, the one on file unless another is given."""
        data = self.case.bytes() if body is None else body
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        headers = self.show(self.secret(NEW) if secret is None else secret, data)
        return await http.post(path or self.path, content=data, headers=headers)


DOORS = (
    Door(
        "telegram", "/channels/telegram/main", "TELEGRAM_MAIN_SECRET",
        whole("X-Telegram-Bot-Api-Secret-Token"),
    ),
    Door(
        "viber", "/channels/viber/main", "VIBER_MAIN_TOKEN",
        lambda secret, body: {"X-Viber-Content-Signature": mac(secret, body)}, "message_text",
    ),
    *(
        Door(name, f"/channels/{name}/main", f"{name.upper()}_MAIN_SECRET", hub)
        for name in ("whatsapp", "messenger", "instagram")
    ),
    Door(
        "telephony", "/channels/telephony/main", "TELEPHONY_MAIN_SECRET",
        whole("X-Trunkline-Secret"), "ringing",
    ),
    Door(
        "connectiveone", "/messengers_host/acme/custom_channel/hooks", "CUSTOM_ACME_TOKEN",
        whole("x-access-token"), "connectiveone_text",
    ),
)  # fmt: skip
HANDSHAKES = ("whatsapp", "messenger", "instagram")


def environment() -> dict[str, str]:
    """Give the secrets that live."""
    names = [door.variable for door in DOORS]
    names += [f"{each.upper()}_MAIN_VERIFY" for each in HANDSHAKES]
    told = {name: f"{name.lower()}-{NEW}" for name in names}
    return told | {f"{name}_{OLD.upper()}": f"{name.lower()}-{OLD}" for name in names}


def rotating(text: str | None = None) -> str:
    """Give the example workspace with two versions of every secret."""
    text = text or EXAMPLE.read_text()
    for name in environment():
        if not name.endswith(f"_{OLD.upper()}"):
            text = text.replace(f"env:{name}", f"[env:{name}, env:{name}_{OLD.upper()}]")
    return text


def door(name: str) -> Door:
    """Give the door of one platform."""
    return next(each for each in DOORS if each.name == name)
