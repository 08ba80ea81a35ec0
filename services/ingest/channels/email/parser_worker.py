"""The process in which strangers' mails are taken apart: little memory and time, no network.

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
from ingest.domain.items import Item, Raw, Unreadable

ASKED, ANSWERED = Struct(">II"), Struct(">cI")
"""Lengths of the particulars and of the mail; then the kind of answer and its length."""
ITEMS, UNREADABLE, EXCESSIVE, BROKEN = b"i", b"u", b"x", b"b"
MEMORY, SECONDS = 256 * 1024 * 1024, 4

items_of: TypeAdapter[tuple[Item, ...]] = TypeAdapter(tuple[Item, ...])


def answer(raw: Raw) -> tuple[bytes, bytes]:
    """Take one mail apart, whatever comes of it."""
    try:
        return ITEMS, items_of.dump_json(message.read(raw))
    except Unreadable as why:
        return UNREADABLE, str(why).encode()
    except Excessive as why:
        return EXCESSIVE, str(why).encode()
    except MemoryError:
        return EXCESSIVE, b"more than the memory there is for one mail"
    except Exception as why:  # noqa: BLE001 (whatever a stranger's mail broke)
        return BROKEN, type(why).__name__.encode()


def confine() -> None:
    """Load everything that may be needed, then give up the means to get anything more."""
    for each in pkgutil.iter_modules(encodings.__path__):
        with suppress(ImportError):
            importlib.import_module(f"encodings.{each.name}")
    sample = b"From: a@example.test\r\nDate: Mon, 02 Mar 2026 09:00:00 +0200\r\n\r\nwarm"
    answer(Raw("email", "", "", sample, datetime.fromtimestamp(0).astimezone()))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    # No descriptor beyond the three there are: neither file nor socket can be opened.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def grant() -> None:
    """Allow some more seconds of processor time; who uses them up is ended by the kernel."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def serve(asked: BinaryIO, answered: BinaryIO) -> None:
    """Answer until nobody asks any more."""
    while len(head := asked.read(ASKED.size)) == ASKED.size:
        about, size = ASKED.unpack(head)
        told = json.loads(asked.read(about))
        body = asked.read(size)
        grant()
        at = datetime.fromisoformat(told["received_at"])
        named = (told["account"], told["inbound_id"])
        raw = Raw(
            "email", *named, body, at, sha256(body).hexdigest(), envelope=tuple(told["envelope"])
        )
        kind, said = answer(raw)
        answered.write(ANSWERED.pack(kind, len(said)) + said)
        answered.flush()


if __name__ == "__main__":
    confine()
    serve(sys.stdin.buffer, sys.stdout.buffer)
