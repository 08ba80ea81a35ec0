"""What ingest takes from the workspace: secrets, the rate, and what clients may ask for."""

from chassis.configuration.following import Workspaces
from chassis.settings import resolve_secret
from ingest.channels.email.mailbox import Mailbox
from ingest.domain.field_rules import Rules
from ingest.domain.fields import FieldRule
from trunkline_contracts.addresses import mail_address
from trunkline_workspace.document import Topic, Workspace
from trunkline_workspace.values import allowance, per_second


class Accounts:
    """The workspace as ingest sees it; looked at anew when a version comes into force."""

    def __init__(self, workspaces: Workspaces) -> None:
        self._workspaces = workspaces
        self._rules: dict[int, Rules] = {}
        self._rate = (0, 0.0)

    def secrets(self, channel: str, account: str, key: str = "secret") -> list[str]:
        """Give the live secrets of an account: none when it is not declared or has none."""
        declared = self._workspaces.current.account(channel, account)
        return resolve_secret(getattr(declared, key)) if declared else []

    def declared(self, channel: str, account: str) -> bool:
        """Whether the workspace in force has such an account."""
        return self._workspaces.current.account(channel, account) is not None

    def origins(self, channel: str, account: str) -> list[str]:
        """Give the origins of the pages that may use an account."""
        declared = self._workspaces.current.account(channel, account)
        return declared.origins if declared else []

    def mailbox(self, address: str) -> str | None:
        """Give the account whose address this is, with or without a `+tag`."""
        address = mail_address(address)
        local, _, domain = address.rpartition("@")
        wanted = {address, f"{local.partition('+')[0]}@{domain}"}
        for name, account in self._workspaces.current.channels.get("email", {}).items():
            if account.address is not None and mail_address(account.address) in wanted:
                return name
        return None

    def post(self, account: str) -> Mailbox | None:
        """Give what a mailbox knows of the mails it gets; a secret is looked up anew."""
        declared = self._workspaces.current.account("email", account)
        if declared is None or declared.address is None:
            return None
        every = self._workspaces.current.channels.get("email", {}).items()
        return Mailbox(
            mail_address(declared.address),
            tuple(resolve_secret(declared.secret)),
            {mail_address(each.address): name for name, each in every if each.address},
            declared.authserv.lower() if declared.authserv else None,
            acknowledges=declared.acknowledge is not None,
            per_sender=allowance(declared.per_sender),
            forwarders=frozenset(map(mail_address, declared.forwarders)),
        )

    @property
    def rate(self) -> float:
        """Deliveries a second one account may send."""
        version = self._workspaces.latest
        if self._rate[0] != version:
            self._rate = (version, per_second(self._workspaces.current.limits.per_account))
        return self._rate[1]

    @property
    def visitor_rate(self) -> float:
        """Deliveries a second one visitor of a page may send."""
        return per_second(self._workspaces.current.limits.per_visitor)

    def rules(self, version: int = 0) -> Rules:
        """Give what a version lets clients ask for; 0 stands for the one in force."""
        version = version or self._workspaces.latest
        if version not in self._rules:
            self._rules = {version: rules_of(self._workspaces.version(version))}
        return self._rules[version]


def rules_of(workspace: Workspace) -> Rules:
    """Take from a workspace what intake obeys. What has retired can be asked for no more."""
    return Rules(
        type=workspace.defaults.type,
        topic=workspace.defaults.topic,
        types=frozenset(name for name, each in workspace.types.items() if not each.retired),
        priorities=frozenset(workspace.priorities),
        topics={
            name: _asked_at_creation(workspace, topic)
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


def _asked_at_creation(workspace: Workspace, topic: Topic) -> dict[str, bool]:
    """Give a topic's fields of the create phase, and whether each must be given."""
    named = ((each.removesuffix("?"), not each.endswith("?")) for each in topic.fields.create)
    return {name: must for name, must in named if not workspace.fields[name].retired}
