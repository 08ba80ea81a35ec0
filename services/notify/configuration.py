"""Accounts and skill groups of the workspace in force, with the secrets accounts refer to."""

from chassis.configuration.following import Workspaces
from chassis.settings import resolve_secret
from notify.domain.recipients import Group
from notify.transport.http_post import Account
from trunkline_contracts.addresses import mail_address
from trunkline_workspace.channels import Account as Declared

SINK = "sink"
"""The URL that stands for the sink in a workspace."""

PLATFORM_URLS = {"telegram": "https://api.telegram.org"}
"""The base URL of each channel's platform, unless the account has its own."""


def group_of(workspaces: Workspaces, group: str | None, topic: str) -> Group:
    """Return a skill group with its operators; the topic's group when `group` is None."""
    document = workspaces.current
    name = group or document.group_of(topic)
    declared = document.groups.get(name)
    return Group(name, () if declared is None else declared.operators)


class NoAccount(Exception):
    """The account does not exist, or lacks an address or a secret."""


class Accounts:
    """The accounts of the workspace in force; secrets are read anew for each message."""

    def __init__(self, workspaces: Workspaces, sink_url: str, sink_smtp: str) -> None:
        self._workspaces = workspaces
        self._sink = sink_url.rstrip("/")
        self._sink_smtp = sink_smtp

    def account(self, channel: str, name: str) -> Account:
        """Return an account with its address and secrets; raise `NoAccount` without one of them."""
        declared = self._workspaces.current.account(channel, name)
        if declared is None:
            raise NoAccount("the workspace has no such account")
        if channel == "custom":
            return self._custom(name, declared.url, resolve_secret(declared.secret))
        if channel == "email":
            return self._email(declared)
        token = next(iter(resolve_secret(declared.token)), None)
        if token is None:
            raise NoAccount("the account's token is not set")
        base = declared.api_base or PLATFORM_URLS.get(channel, "")
        return Account(self._sink if base == SINK else base.rstrip("/"), token)

    def acknowledgement(self, name: str) -> str | None:
        """Return the acknowledgement text of a mail account; None when it sends none."""
        declared = self._workspaces.current.account("email", name)
        return declared.acknowledge if declared else None

    def _email(self, declared: Declared) -> Account:
        if declared.smtp is None or declared.address is None:
            raise NoAccount("the account has no address, or no SMTP server")
        password = next(iter(resolve_secret(declared.password)), "")
        if declared.user and not password:
            raise NoAccount("the account's password is not set")
        server = self._sink_smtp if declared.smtp == SINK else declared.smtp
        return Account(
            server,
            password,
            tuple(resolve_secret(declared.secret)),
            address=mail_address(declared.address),
            name=declared.from_name,
            user=declared.user,
        )

    def _custom(self, name: str, url: str | None, secrets: list[str]) -> Account:
        if url is None:
            raise NoAccount("the account has no url")
        if not secrets:
            raise NoAccount("the account's secret is not set")
        target = f"{self._sink}/custom/{name}" if url == SINK else url
        return Account(target, "", tuple(secrets), trusted=url == SINK)
