"""The demo's instance as people at it use it: its addresses, their tokens, what the boss asks."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from trunkline import secret_values
from trunkline.instance import Instance
from trunkline.paths import CannotStart

AGAIN, PATIENCE = 0.2, 20.0


class Desk:
    """One instance, and a client for everybody."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.secrets = secret_values.read(instance.secrets_file)
        self.http = httpx.AsyncClient(timeout=10)
        self._tokens: dict[str, str] = {}

    def token(self, role: str, who: str) -> dict[str, str]:
        """Give the header that says who asks."""
        if who not in self._tokens:
            self._tokens[who] = self.instance.signer.token(who, [role])
        return {"authorization": f"Bearer {self._tokens[who]}"}

    def url(self, service: str, path: str) -> str:
        """Give an address of a service."""
        return f"{self.instance.url(service)}{path}"

    async def ask(
        self, service: str, path: str, role: str = "supervisor", who: str = "boss"
    ) -> Any:
        """Read something."""
        answer = await self.http.get(self.url(service, path), headers=self.token(role, who))
        answer.raise_for_status()
        return answer.json()

    async def tell(self, service: str, path: str, body: Any, who: str, verb: str = "POST") -> bool:
        """Command something as an operator; gives whether it was done."""
        headers = self.token("operator", who)
        answer = await self.http.request(verb, self.url(service, path), json=body, headers=headers)
        return answer.is_success

    async def knows(self, topic: str) -> None:
        """Wait until the workspace that has this topic is everywhere."""
        probes = (("ingest", {"text": "?", "contact": {"id": "x"}}), ("tickets", _OPENING))
        until = asyncio.get_running_loop().time() + PATIENCE
        for service, body in probes:
            while not await self._allows(service, body, topic):
                if asyncio.get_running_loop().time() > until:
                    raise CannotStart(f"{service} does not follow the demo's workspace")
                await asyncio.sleep(AGAIN)

    async def _allows(self, service: str, body: dict[str, Any], topic: str) -> bool:
        """Ask for a topic there is not: the refusal names those there are."""
        answer = await self.http.post(
            self.url(service, "/v1/requests"),
            json=body | {"topic": "nothing"},
            headers=self.token("supervisor", "boss"),
        )
        return answer.status_code == 422 and topic in answer.text


_OPENING = {"description": "?", "contact": {"email": "x@example.test"}}
