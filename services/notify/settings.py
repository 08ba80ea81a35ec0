"""Settings of the notify service."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from pydantic import Field

from chassis.settings import Settings as Common


class Settings(Common):
    """The common settings, and those of sending."""

    sink_smtp: str = Field(default="smtp://127.0.0.1:8026", pattern=r"^smtps?://.+")
    """The URL of the mail server that `sink` stands for in a workspace."""
    unknown_outcome: Literal["resend", "hold"] = "resend"
    """The treatment of a message when it is not known whether the platform accepted it.

    `resend` sends it again under the same id, twice at most; the customer may receive duplicates.
    `hold` keeps it as `unknown` until a person decides; the customer may miss it."""
    webhook_networks: str = ""
    """Internal networks, such as `10.1.0.0/16,192.0.2.7`, that webhooks and replies to custom
    channels may be sent to.

    There http and any port are allowed; elsewhere only https to public addresses is."""
    send_lease: float = 20.0
    """Seconds after which another replica may repeat an attempt that was not settled.

    An attempt takes at most 10 s, on a custom channel 15 s."""

    @property
    def internal_networks(self) -> list[IPv4Network | IPv6Network]:
        """Return the internal networks; raise ValueError when one is not valid."""
        return [
            ip_network(part.strip()) for part in self.webhook_networks.split(",") if part.strip()
        ]
