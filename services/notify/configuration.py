"""Through which account a message leaves: the workspace in force, and the secret it refers to."""

from chassis.configuration.following import Workspaces
from chassis.settings import resolve_secret
from notify.transport.http_post import Account
from trunkline_contracts.addresses import mail_address
from trunkline_workspace.channels import Account as Declared

SINK = "sink"
"""As an address in the workspace: the stand-in for the outside world."""

PLATFORM_URLS = {"telegram": "https://api.telegram.org"}
"""Where a channel's platform is, unless the account says otherwise."""


class NoAccount(Exception):
    """There is no such account to send through, or it has no token."""


class Accounts:
    """The accounts of the workspace in force; a token is looked up anew for each message."""

    def __init__(self, workspaces: Workspaces, sink_url: str, sink_smtp: str) -> None:
        self._workspaces = workspaces
        self._sink = sink_url.rstrip("/")
        self._sink_smtp = sink_smtp

    def account(self, channel: str, name: str) -> Account:
        """Give an account's address and token."""
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
        """Give what a mail account tells whoever begins a request; None when it tells nothing."""
        declared = self._workspaces.current.account("email", name)
        return declared.acknowledge if declared else None

    def _email(self, declared: Declared) -> Account:
        if declared.smtp is None or declared.address is None:
            raise NoAccount("the account has no address, or no server to send by")
        password = next(iter(resolve_secret(declared.password)), "")
        if declared.user and not password:
            raise NoAccount("the account's password is not set")
        place = self._sink_smtp if declared.smtp == SINK else declared.smtp
        return Account(
            place,
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
        place = f"{self._sink}/custom/{name}" if url == SINK else url
        return Account(place, "", tuple(secrets), trusted=url == SINK)
