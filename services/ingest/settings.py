"""Settings of ingest."""

from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_network

from pydantic import Field, SecretStr, field_validator

from chassis.settings import Settings as Common


class Settings(Common):
    """The settings of every service, the key of inbound ids, and the SMTP port."""

    inbound_key: SecretStr = SecretStr("")
    """The key of inbound ids, 16 characters or more; the same for all replicas.

    Empty: derived from the seed of ingest's NATS user, which all replicas share."""

    smtp_port: int = Field(default=0, ge=0, le=65535)
    """The port for mail servers; 0: none. Only one replica can have a port."""
    smtp_peers: str = "127.0.0.0/8,::1/128"
    """Networks that may deliver mail without authentication: our own mail servers."""

    @field_validator("smtp_peers")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for network in value.split(","):
            ip_network(network.strip())
        return value

    def mail_servers(self) -> list[IPv4Network | IPv6Network]:
        """Return the networks of our own mail servers."""
        return [ip_network(network.strip()) for network in self.smtp_peers.split(",")]

    def inbound_id_key(self) -> str:
        """Return the key of inbound ids; raises ValueError if there is none to read or derive."""
        configured = self.inbound_key.get_secret_value()
        if configured:
            return configured
        seed = self.nats_creds_dir / "ingest.nk"
        try:
            return sha256(b"inbound ids:" + seed.read_bytes().strip()).hexdigest()
        except OSError as why:
            raise ValueError(
                f"INBOUND_KEY is not set, and {seed.name} cannot be read: {why}"
            ) from why
