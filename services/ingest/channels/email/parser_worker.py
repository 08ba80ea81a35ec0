"""The process that parses mails: little memory and time, no network and no files.

It reads frames from its standard input and answers on its standard output; see
`ingest.channels.email.parser_pool`.
"""

import encodings
import importlib
import json
import pkgutil
import resource
import sys
from contextlib import suppress
from datetime import datetime
from hashlib import sha256
from struct import Struct
from typing import BinaryIO

from pydantic import TypeAdapter

from ingest.channels.email import message
from ingest.channels.email.mime import Excessive
from ingest.domain.items import InboundItem, RawDelivery, Unreadable

REQUEST_HEADER, RESPONSE_HEADER = Struct(">II"), Struct(">cI")
"""The lengths of the metadata and of the mail; then the kind of answer and its length."""
ITEMS, UNREADABLE, EXCESSIVE, BROKEN = b"i", b"u", b"x", b"b"
MAX_MEMORY_BYTES, MAX_CPU_S = 256 * 1024 * 1024, 4

ITEMS_ADAPTER: TypeAdapter[tuple[InboundItem, ...]] = TypeAdapter(tuple[InboundItem, ...])


def parse_mail(raw: RawDelivery) -> tuple[bytes, bytes]:
    """Parse one mail; every error becomes an answer."""
    try:
        return ITEMS, ITEMS_ADAPTER.dump_json(message.read(raw))
    except Unreadable as why:
        return UNREADABLE, str(why).encode()
    except Excessive as why:
        return EXCESSIVE, str(why).encode()
    except MemoryError:
        return EXCESSIVE, b"more than the memory there is for one mail"
    except Exception as why:  # noqa: BLE001 (whatever a stranger's mail broke)
        return BROKEN, type(why).__name__.encode()


def confine() -> None:
    """Load all codecs and modules, then give up the rights to open or start anything."""
    for codec in pkgutil.iter_modules(encodings.__path__):
        with suppress(ImportError):
            importlib.import_module(f"encodings.{codec.name}")
    sample = b"From: a@example.test\r\nDate: Mon, 02 Mar 2026 09:00:00 +0200\r\n\r\nwarm"
    parse_mail(RawDelivery("email", "", "", sample, datetime.fromtimestamp(0).astimezone()))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    # With no descriptor beyond the three open ones, neither file nor socket can be opened.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def extend_cpu_limit() -> None:
    """Allow `MAX_CPU_S` more of processor time; the kernel kills a process that exceeds it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + MAX_CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def serve(requests: BinaryIO, responses: BinaryIO) -> None:
    """Answer requests until the input ends."""
    while len(head := requests.read(REQUEST_HEADER.size)) == REQUEST_HEADER.size:
        metadata_length, size = REQUEST_HEADER.unpack(head)
        metadata = json.loads(requests.read(metadata_length))
        body = requests.read(size)
        extend_cpu_limit()
        at = datetime.fromisoformat(metadata["received_at"])
        ids = (metadata["account"], metadata["inbound_id"])
        raw = RawDelivery(
            "email", *ids, body, at, sha256(body).hexdigest(), envelope=tuple(metadata["envelope"])
        )
        kind, response = parse_mail(raw)
        responses.write(RESPONSE_HEADER.pack(kind, len(response)) + response)
        responses.flush()


if __name__ == "__main__":
    confine()
    serve(sys.stdin.buffer, sys.stdout.buffer)
