"""The workspace as ingest needs it: accounts, secrets, rates and request rules."""

from chassis.configuration.following import Workspaces
from chassis.settings import resolve_secret
from ingest.channels.email.mailbox import Mailbox
from ingest.domain.field_rules import Rules
from ingest.domain.fields import FieldRule
from trunkline_contracts.addresses import mail_address
from trunkline_workspace.document import Topic, Workspace
from trunkline_workspace.values import parse_rate, per_second


class IngestConfiguration:
    """The accounts and rules of the workspace version in force."""

    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces
        self._rules: dict[int, Rules] = {}
        self._rate = (0, 0.0)

    def secrets(self, channel: str, account: str, key: str = "secret") -> list[str]:
        """Return the secrets of an account that are in force, none if it has no such account."""
        declared = self._workspaces.current.account(channel, account)
        return resolve_secret(getattr(declared, key)) if declared else []

    def has_account(self, channel: str, account: str) -> bool:
        """Return whether the workspace has an account."""
        return self._workspaces.current.account(channel, account) is not None

    def allowed_origins(self, channel: str, account: str) -> list[str]:
        """Return the origins of the web pages that may use an account."""
        declared = self._workspaces.current.account(channel, account)
        return declared.origins if declared else []

    def account_for_address(self, address: str) -> str | None:
        """Return the account with this address, with or without a `+tag`."""
        address = mail_address(address)
        local, _, domain = address.rpartition("@")
        addresses = {address, f"{local.partition('+')[0]}@{domain}"}
        for name, account in self._workspaces.current.channels.get("email", {}).items():
            if account.address is not None and mail_address(account.address) in addresses:
                return name
        return None

    def mailbox(self, account: str) -> Mailbox | None:
        """Return a mailbox with its current secrets, or None if there is no such account."""
        declared = self._workspaces.current.account("email", account)
        if declared is None or declared.address is None:
            return None
        accounts = self._workspaces.current.channels.get("email", {}).items()
        return Mailbox(
            mail_address(declared.address),
            tuple(resolve_secret(declared.secret)),
            {mail_address(other.address): name for name, other in accounts if other.address},
            declared.authserv.lower() if declared.authserv else None,
            acknowledges=declared.acknowledge is not None,
            per_sender=parse_rate(declared.per_sender),
            forwarders=frozenset(map(mail_address, declared.forwarders)),
        )

    @property
    def account_rate(self) -> float:
        """Return the deliveries per second allowed for one account."""
        version = self._workspaces.latest
        if self._rate[0] != version:
            self._rate = (version, per_second(self._workspaces.current.limits.per_account))
        return self._rate[1]

    @property
    def visitor_rate(self) -> float:
        """Return the deliveries per second allowed for one visitor of a web page."""
        return per_second(self._workspaces.current.limits.per_visitor)

    def rules(self, version: int = 0) -> Rules:
        """Return the request rules of a workspace version; 0 is the version in force."""
        version = version or self._workspaces.latest
        if version not in self._rules:
            self._rules = {version: request_rules(self._workspaces.version(version))}
        return self._rules[version]


def request_rules(workspace: Workspace) -> Rules:
    """Make the request rules of a workspace; retired names are no longer allowed."""
    return Rules(
        type=workspace.defaults.type,
        topic=workspace.defaults.topic,
        types=frozenset(name for name, type in workspace.types.items() if not type.retired),
        priorities=frozenset(workspace.priorities),
        topics={
            name: _creation_fields(workspace, topic)
            for name, topic in workspace.topics.items()
            if not topic.retired
        },
        fields={
            name: FieldRule(rule.kind, rule.pattern, rule.min, rule.max, tuple(rule.options))
            for name, rule in workspace.fields.items()
        },
        mappings={
            (channel, name): dict(account.field_mapping)
            for channel, accounts in workspace.channels.items()
            for name, account in accounts.items()
            if account.field_mapping
        },
    )


def _creation_fields(workspace: Workspace, topic: Topic) -> dict[str, bool]:
    """Return a topic's fields of the create phase, and whether each is required."""
    fields = (
        (field_name.removesuffix("?"), not field_name.endswith("?"))
        for field_name in topic.fields.create
    )
    return {name: must for name, must in fields if not workspace.fields[name].retired}
