"""What ingest can be told from outside."""

from hashlib import sha256

from pydantic import SecretStr

from chassis.settings import Settings as Common


class Settings(Common):
    """What every service can be told, and the key of inbound ids."""

    inbound_key: SecretStr = SecretStr("")
    """Marks inbound ids as issued here; the same for all replicas, 16 characters or more.

    Empty: made from the seed of ingest's NATS user, which all replicas share anyway."""

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
