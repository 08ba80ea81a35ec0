"""What ingest can be told from outside."""

from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_network

from pydantic import Field, SecretStr, field_validator

from chassis.settings import Settings as Common


class Settings(Common):
    """What every service can be told, and the key of inbound ids."""

    inbound_key: SecretStr = SecretStr("")
    """Marks inbound ids as issued here; the same for all replicas, 16 characters or more.

    Empty: made from the seed of ingest's NATS user, which all replicas share anyway."""

    smtp_port: int = Field(default=0, ge=0, le=65535)
    """Where this replica listens for mail servers; 0: nowhere. Only one replica can have a port."""
    smtp_peers: str = "127.0.0.0/8,::1/128"
    """Networks from which mail is taken without authentication: our own mail servers."""

    @field_validator("smtp_peers")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for each in value.split(","):
            ip_network(each.strip())
        return value

    def mail_servers(self) -> list[IPv4Network | IPv6Network]:
        """Give the networks of our own mail servers."""
        return [ip_network(each.strip()) for each in self.smtp_peers.split(",")]

    def mint_key(self) -> str:
        """Give the key; raises ValueError when there is nothing to make it from."""
        given = self.inbound_key.get_secret_value()
        if given:
            return given
        seed = self.nats_creds_dir / "ingest.nk"
        try:
            return sha256(b"inbound ids:" + seed.read_bytes().strip()).hexdigest()
        except OSError as why:
            raise ValueError(
                f"INBOUND_KEY is not set, and {seed.name} cannot be read: {why}"
            ) from why
