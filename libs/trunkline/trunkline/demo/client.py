"""The HTTP client of the demo: addresses, tokens, queries and commands."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from trunkline import secret_values
from trunkline.instance import Instance
from trunkline.paths import CannotStart

RETRY_INTERVAL_S, WORKSPACE_TIMEOUT_S = 0.2, 20.0


class Client:
    """A client of one instance, for all simulated people."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.secrets = secret_values.read(instance.secrets_file)
        self.http = httpx.AsyncClient(timeout=10)
        self._tokens: dict[str, str] = {}

    def authorization(self, role: str, subject: str) -> dict[str, str]:
        """Return the authorization header of a person."""
        if subject not in self._tokens:
            self._tokens[subject] = self.instance.signer.token(subject, [role])
        return {"authorization": f"Bearer {self._tokens[subject]}"}

    def url(self, service: str, path: str) -> str:
        """Return a URL of a service."""
        return f"{self.instance.url(service)}{path}"

    async def fetch(
        self, service: str, path: str, role: str = "supervisor", subject: str = "boss"
    ) -> Any:
        """Return the JSON at an address; raise HTTPStatusError if it is refused."""
        answer = await self.http.get(
            self.url(service, path), headers=self.authorization(role, subject)
        )
        answer.raise_for_status()
        return answer.json()

    async def send_command(
        self, service: str, path: str, body: Any, subject: str, method: str = "POST"
    ) -> bool:
        """Send a command as an operator; return whether it was accepted."""
        headers = self.authorization("operator", subject)
        answer = await self.http.request(
            method, self.url(service, path), json=body, headers=headers
        )
        return answer.is_success

    async def wait_for_topic(self, topic: str) -> None:
        """Wait until the services follow the workspace that has this topic."""
        probes = (("ingest", {"text": "?", "contact": {"id": "x"}}), ("tickets", _OPENING))
        deadline = asyncio.get_running_loop().time() + WORKSPACE_TIMEOUT_S
        for service, body in probes:
            while not await self._knows_topic(service, body, topic):
                if asyncio.get_running_loop().time() > deadline:
                    raise CannotStart(f"{service} does not follow the demo's workspace")
                await asyncio.sleep(RETRY_INTERVAL_S)

    async def _knows_topic(self, service: str, body: dict[str, Any], topic: str) -> bool:
        """Check for a topic by requesting an unknown one: the refusal lists the known topics."""
        answer = await self.http.post(
            self.url(service, "/v1/requests"),
            json=body | {"topic": "nothing"},
            headers=self.authorization("supervisor", "boss"),
        )
        return answer.status_code == 422 and topic in answer.text


_OPENING = {"description": "?", "contact": {"email": "x@example.test"}}
