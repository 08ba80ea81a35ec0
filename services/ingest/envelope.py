"""A raw delivery's form in INBOUND: what the door writes is what the intake reads.

Long: writing and reading stand side by side, so that they agree.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, unquote
from uuid import UUID, uuid5

from chassis.messaging.message import CHUNK_HEADER, StreamMessage
from ingest.domain.items import InboundItem, Person, RawDelivery, Unreadable
from ingest.domain.text import clean
from trunkline_contracts.fact import NAMESPACE, slot_of

PIECE = 200_000
"""Bytes of a body that go into one message."""
LONGEST, MOST = 254, 20
"""Characters of an address in an envelope (RFC 5321, 4.5.3), and addresses that are kept of it."""
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,100}")
_ENVELOPED = re.compile(r"<([^<>]*)>")
RECEIVED, ACCOUNT, DIGEST, KEY, BY, SENDER, ENVELOPE, CONVERSATION, FORM = (
    "Trunkline-Received",
    "Trunkline-Account",
    "Trunkline-Sha256",
    "Trunkline-Idempotency-Key",
    "Trunkline-Principal",
    "Trunkline-Sender",
    "Trunkline-Envelope",
    "Trunkline-Conversation",
    "Trunkline-Form",
)
PERSON = [field.name for field in fields(Person)]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery out of INBOUND, with its place there."""

    raw: RawDelivery
    slot: int
    sequence: int
    traceparent: str | None
    chunks: int = 1
    items: Sequence[InboundItem] | Unreadable | None = None
    """What it is made of, when that was found out already."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A delivery on its way into INBOUND."""

    subject: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """Its inbound id."""
        return self.headers["Nats-Msg-Id"]

    @property
    def messages(self) -> int:
        """How many messages it takes."""
        return max(1, -(-len(self.body) // PIECE))

    def pieces(self) -> Iterator[tuple[dict[str, str], bytes]]:
        """Give those messages: one, or the chunks of a large body."""
        of = self.messages
        if of == 1:
            yield self.headers, self.body
            return
        for n in range(of):
            told = {"Nats-Msg-Id": f"{self.id}.{n + 1}", CHUNK_HEADER: f"{n + 1}/{of}"}
            yield {**self.headers, **told}, self.body[n * PIECE : (n + 1) * PIECE]


def write(
    raw: RawDelivery, *, content_type: str = "", principal: str = "", traceparent: str | None = None
) -> Letter:
    """Address a delivery; the same bytes, and their digest."""
    headers = {
        "Nats-Msg-Id": raw.inbound_id,
        RECEIVED: raw.received_at.isoformat(),
        ACCOUNT: quote(raw.account, safe=""),
        DIGEST: sha256(raw.body).hexdigest(),
    }
    for name, value in (
        (KEY, raw.idempotency_key),
        (BY, principal),
        (CONVERSATION, raw.conversation),
        (FORM, raw.form),
        ("Content-Type", content_type),
    ):
        if value:
            headers[name] = quote(value, safe="/;= ")
    if raw.sender is not None:
        told = {name: value for name, value in asdict(raw.sender).items() if value is not None}
        headers[SENDER] = quote(json.dumps(told), safe="")
    if raw.envelope:
        names = (quote(each[:LONGEST], safe="@+", errors="replace") for each in raw.envelope)
        headers[ENVELOPE] = " ".join(f"<{each}>" for each in itertools.islice(names, MOST))
    if traceparent:
        headers["traceparent"] = traceparent
    slot = f"{slot_of(raw.inbound_id):02d}"
    account = token_of(raw.account)
    return Letter(f"inbound.{raw.channel}.{account}.{slot}.{raw.inbound_id}", headers, raw.body)


def token_of(account: str) -> str:
    """Give an account's name as one token of a subject."""
    if _TOKEN.fullmatch(account):
        return account
    return f"h-{sha256(account.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def read(item: StreamMessage) -> Delivery:
    """Read a delivery; raises ValueError when it is not as the door wrote it."""
    headers: Mapping[str, str] = item.headers
    raw = envelope(item, datetime.fromtimestamp(0, UTC))
    if headers.get(DIGEST, raw.sha256) != raw.sha256:
        raise ValueError("the body is not the one that was accepted: its digest differs")
    if SENDER in headers and raw.sender is None:
        raise ValueError("it cannot be read who sent it")
    if raw.inbound_id != item.key:
        raise ValueError("its id is not one the door gives")
    return Delivery(raw, item.slot, item.position or 0, headers.get("traceparent"), item.chunks)


def envelope(item: StreamMessage, otherwise: datetime) -> RawDelivery:
    """Read what is around a body, whoever wrote it; never fails. Undated, it came `otherwise`."""
    _, channel, token, *_ = [*item.subject.split("."), "", ""]
    headers: Mapping[str, str] = item.headers
    key, talk = headers.get(KEY), headers.get(CONVERSATION)
    return RawDelivery(
        clean(channel),
        clean(unquote(headers.get(ACCOUNT, token))),
        id_of(item.subject),
        item.data,
        received_at(headers, otherwise),
        sha256(item.data).hexdigest(),
        clean(unquote(key)) if key else None,
        _sender(headers.get(SENDER)),
        envelope=tuple(
            clean(unquote(each)) for each in _ENVELOPED.findall(headers.get(ENVELOPE, ""))
        ),
        conversation=clean(unquote(talk)) if talk else None,
        form=headers.get(FORM, ""),
    )


def _sender(told: str | None) -> Person | None:
    """Read who sends, as the door wrote it; None when that makes no sense."""
    if not told:
        return None
    try:
        said = json.loads(unquote(told))
        return Person(**{name: clean(str(said[name])) for name in PERSON if name in said})
    except (ValueError, TypeError):
        return None


def id_of(subject: str) -> str:
    """Return the inbound id of a message by its subject; made up where that names none."""
    try:
        return str(UUID(subject.rsplit(".", 1)[-1]))
    except ValueError:
        return str(uuid5(NAMESPACE, subject))


def again_id(inbound_id: str, epoch: int, sequence: int) -> str:
    """Return the id of a delivery that the broker has stored a second time, at that place."""
    return str(uuid5(UUID(inbound_id), f"again at {epoch}/{sequence}"))


def received_at(headers: Mapping[str, str], otherwise: datetime) -> datetime:
    """Return when the door received a delivery, by its headers."""
    try:
        at = datetime.fromisoformat(headers.get(RECEIVED, ""))
    except ValueError:
        return otherwise
    return at if at.tzinfo else otherwise
