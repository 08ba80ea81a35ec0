"""All PostgreSQL advisory locks of the system, which share one number space per database."""

from hashlib import sha256
from typing import Literal, get_args

Kind = Literal["say", "relay", "reader", "matcher", "key", "migrate", "provision"]
"""The purposes of locks.

- `say` <service>: held by a transaction that records facts, so that positions appear in order
- `relay` <service>: the leader that publishes the service's facts
- `reader` <service>/<reader>/<group>: the leader that reads a stream for a group of slots
- `matcher` <service>/<name>: decisions about one thing at a time
- `key` <service>/<key>: changes to what may have no row yet
- `migrate` <service>, `provision` *: one provisioner at a time
"""

KINDS: tuple[str, ...] = get_args(Kind)


def lock_key(kind: Kind, name: str) -> int:
    """Return the lock's number: 64 bits, signed, the same in every process and version.

    >>> lock_key("say", "ingest") == lock_key("relay", "ingest")
    False
    """
    return int.from_bytes(sha256(f"{kind}:{name}".encode()).digest()[:8], signed=True)
