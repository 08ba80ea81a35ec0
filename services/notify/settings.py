"""What notify can be told from outside."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from pydantic import Field

from chassis.settings import Settings as Common


class Settings(Common):
    """What every service can be told, and what to do with messages in doubt."""

    sink_smtp: str = Field(default="smtp://127.0.0.1:8026", pattern=r"^smtps?://.+")
    """What `sink` means as a mail server."""
    unknown_outcome: Literal["resend", "hold"] = "resend"
    """What becomes of a message when nobody knows whether the platform took it.

    It is sent again under the same id, twice at most, and the customer may read it so often; or it
    is held as `unknown` for a person to decide, and the customer may miss it."""
    webhook_networks: str = ""
    """Networks of one's own, such as `10.1.0.0/16,192.0.2.7`, to which webhooks and replies to
    custom channels may go as well.

    There over http and on any port, too; elsewhere only to public addresses, by https."""
    send_lease: float = 20.0
    """Seconds after which an attempt nobody settled may be made again.

    An attempt takes ten at most, to a custom channel fifteen."""

    @property
    def internal_networks(self) -> list[IPv4Network | IPv6Network]:
        """The networks of one's own; raises ValueError for what is none."""
        return [
            ip_network(part.strip()) for part in self.webhook_networks.split(",") if part.strip()
        ]
