"""Endpoints: the webhooks of the workspace in force, with the secrets they refer to."""

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from uuid import UUID, uuid5

from chassis.auth.standard_webhooks import key_of
from chassis.configuration.following import Workspaces
from chassis.messaging.message import StreamMessage
from chassis.settings import resolve_secret
from trunkline_contracts import NAMESPACE, NoteAdded
from trunkline_workspace.document import Webhook

SINK = "sink"
WORKSPACE_VERSION = re.compile(rb'"workspace":([0-9]{1,18})[,}]')


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The endpoint of a webhook, and the facts it subscribes to."""

    name: str
    url: str = field(repr=False)
    is_trusted: bool
    """Whether it is the sink, which may have an internal address."""
    declared: Webhook = field(repr=False)

    @property
    def address(self) -> UUID:
        """Return an id of the URL, which does not reveal it."""
        return uuid5(NAMESPACE, self.url)

    def secrets(self) -> list[str]:
        """Return the signing secrets; none when one of them is missing or not valid."""
        references = self.declared.secret
        secrets = resolve_secret(references)
        try:
            for secret in secrets:
                key_of(secret)
        except ValueError:
            return []
        wanted = 1 if isinstance(references, str) else len(references)
        return secrets if len(secrets) == wanted else []

    def wants(self, type: str) -> bool:
        """Return whether it subscribes to facts of this type; notes need `internal` too."""
        if type == NoteAdded.name() and not self.declared.internal:
            return False
        return any(fnmatchcase(type, event) for event in self.declared.events)


class Endpoints:
    """The endpoints of the workspace in force, by name and by the types of their facts."""

    def __init__(self, workspaces: Workspaces, sink_url: str) -> None:
        self._workspaces = workspaces
        self._sink = sink_url.rstrip("/")
        self._version = 0
        self._all: dict[str, Endpoint] = {}
        self._by_type: dict[str, tuple[Endpoint, ...]] = {}

    @property
    def all(self) -> dict[str, Endpoint]:
        """Return every endpoint by its name; none before there is a workspace."""
        if self._version != self._workspaces.latest:
            declared = self._workspaces.current.webhooks
            self._all = {name: self._endpoint(name, hook) for name, hook in declared.items()}
            self._by_type = {}
            self._version = self._workspaces.latest
        return self._all

    def subscribed(self, type: str) -> tuple[Endpoint, ...]:
        """Return the endpoints that subscribe to facts of this type."""
        endpoints = self.all
        if type not in self._by_type:
            self._by_type[type] = tuple(e for e in endpoints.values() if e.wants(type))
        return self._by_type[type]

    def may_be_wanted(self, item: StreamMessage) -> bool:
        """Return whether an endpoint subscribes, or may by a workspace not yet read here."""
        if self.subscribed(item.type):
            return True
        match = WORKSPACE_VERSION.search(item.data, 0, 1024)
        return match is not None and int(match[1]) > self._workspaces.latest

    def _endpoint(self, name: str, declared: Webhook) -> Endpoint:
        trusted = declared.url == SINK
        url = f"{self._sink}/webhook/{name}" if trusted else declared.url
        return Endpoint(name, url, trusted, declared)
