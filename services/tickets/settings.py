"""What tickets can be told from outside: what every service can."""

from chassis.settings import Settings as Common


class Settings(Common):
    """Nothing of its own yet."""
