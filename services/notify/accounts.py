"""Through which account a message leaves: the workspace in force, and the secret it refers to."""

from chassis.settings import resolve_secret
from chassis.workspace import Workspaces
from notify.channels import Account

SINK = "sink"
"""As an address in the workspace: the stand-in for the outside world."""


class NoAccount(Exception):
    """There is no such account to send through, or it has no token."""


class Accounts:
    """The accounts of the workspace in force; a token is looked up anew for each message."""

    def __init__(self, workspaces: Workspaces, sink_url: str) -> None:
        self._workspaces = workspaces
        self._sink = sink_url.rstrip("/")

    def find(self, channel: str, name: str) -> Account:
        """Give an account's address and token."""
        declared = self._workspaces.current.channels.get(channel, {}).get(name)
        if declared is None:
            raise NoAccount("the workspace has no such account")
        token = next(iter(resolve_secret(declared.token)), None)
        if token is None:
            raise NoAccount("the account's token is not set")
        base = self._sink if declared.api_base == SINK else declared.api_base.rstrip("/")
        return Account(base, token)
