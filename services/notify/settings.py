"""What notify can be told from outside."""

from typing import Literal

from chassis.settings import Settings as Common


class Settings(Common):
    """What every service can be told, and what to do with messages in doubt."""

    unknown_outcome: Literal["resend", "hold"] = "resend"
    """What becomes of a message when nobody knows whether the platform took it.

    It is sent again under the same id, and the customer may read it twice; or it is held as
    `unknown` for a person to decide, and the customer may miss it."""
    send_lease: float = 20.0
    """Seconds after which an attempt nobody settled may be made again.

    An attempt takes ten at most, to a custom channel fifteen."""
