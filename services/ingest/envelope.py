"""The form of a delivery in INBOUND: written by the gateway, read by the intake and the audit."""

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

CHUNK_BYTES = 200_000
"""The bytes of a body that fit in one message."""
MAX_ADDRESS_CHARS, MAX_ADDRESSES = 254, 20
"""The characters of an SMTP envelope's address (RFC 5321, 4.5.3), and the addresses stored."""
_SUBJECT_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,100}")
_BRACKETED = re.compile(r"<([^<>]*)>")
RECEIVED_HEADER = "Trunkline-Received"
ACCOUNT_HEADER = "Trunkline-Account"
DIGEST_HEADER = "Trunkline-Sha256"
KEY_HEADER = "Trunkline-Idempotency-Key"
PRINCIPAL_HEADER = "Trunkline-Principal"
SENDER_HEADER = "Trunkline-Sender"
ENVELOPE_HEADER = "Trunkline-Envelope"
CONVERSATION_HEADER = "Trunkline-Conversation"
FORM_HEADER = "Trunkline-Form"
PERSON_FIELDS = [field.name for field in fields(Person)]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery read from INBOUND, with its sequence there."""

    raw: RawDelivery
    slot: int
    sequence: int
    traceparent: str | None
    chunks: int = 1
    items: Sequence[InboundItem] | Unreadable | None = None
    """The items, if they were parsed already."""


@dataclass(frozen=True, slots=True)
class OutgoingEnvelope:
    """A delivery on its way into INBOUND."""

    subject: str
    headers: dict[str, str]
    body: bytes

    @property
    def inbound_id(self) -> str:
        """The delivery's inbound id."""
        return self.headers["Nats-Msg-Id"]

    @property
    def message_count(self) -> int:
        """The number of messages the delivery needs."""
        return max(1, -(-len(self.body) // CHUNK_BYTES))

    def messages(self) -> Iterator[tuple[dict[str, str], bytes]]:
        """Yield the headers and data of each message: one, or the chunks of a large body."""
        count = self.message_count
        if count == 1:
            yield self.headers, self.body
            return
        for n in range(count):
            own = {"Nats-Msg-Id": f"{self.inbound_id}.{n + 1}", CHUNK_HEADER: f"{n + 1}/{count}"}
            yield {**self.headers, **own}, self.body[n * CHUNK_BYTES : (n + 1) * CHUNK_BYTES]


def write(
    raw: RawDelivery, *, content_type: str = "", principal: str = "", traceparent: str | None = None
) -> OutgoingEnvelope:
    """Return a delivery's envelope: its subject, headers and digest, and the unchanged body.

    `principal` is the authenticated sender of a submission.
    """
    headers = {
        "Nats-Msg-Id": raw.inbound_id,
        RECEIVED_HEADER: raw.received_at.isoformat(),
        ACCOUNT_HEADER: quote(raw.account, safe=""),
        DIGEST_HEADER: sha256(raw.body).hexdigest(),
    }
    for name, value in (
        (KEY_HEADER, raw.idempotency_key),
        (PRINCIPAL_HEADER, principal),
        (CONVERSATION_HEADER, raw.conversation),
        (FORM_HEADER, raw.form),
        ("Content-Type", content_type),
    ):
        if value:
            headers[name] = quote(value, safe="/;= ")
    if raw.sender is not None:
        person = {name: value for name, value in asdict(raw.sender).items() if value is not None}
        headers[SENDER_HEADER] = quote(json.dumps(person), safe="")
    if raw.envelope:
        addresses = (
            quote(address[:MAX_ADDRESS_CHARS], safe="@+", errors="replace")
            for address in raw.envelope
        )
        stored = itertools.islice(addresses, MAX_ADDRESSES)
        headers[ENVELOPE_HEADER] = " ".join(f"<{address}>" for address in stored)
    if traceparent:
        headers["traceparent"] = traceparent
    slot = f"{slot_of(raw.inbound_id):02d}"
    account = account_token(raw.account)
    subject = f"inbound.{raw.channel}.{account}.{slot}.{raw.inbound_id}"
    return OutgoingEnvelope(subject, headers, raw.body)


def account_token(account: str) -> str:
    """Return an account's name as a token of a subject; a hash if it has other characters."""
    if _SUBJECT_TOKEN.fullmatch(account):
        return account
    return f"h-{sha256(account.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def read(item: StreamMessage) -> Delivery:
    """Read a delivery; raises ValueError if it is not as the gateway wrote it."""
    headers: Mapping[str, str] = item.headers
    raw = read_unchecked(item, datetime.fromtimestamp(0, UTC))
    if headers.get(DIGEST_HEADER, raw.sha256) != raw.sha256:
        raise ValueError("the body differs from the accepted one: its digest is another")
    if SENDER_HEADER in headers and raw.sender is None:
        raise ValueError(f"the header {SENDER_HEADER} cannot be read")
    if raw.inbound_id != item.key:
        raise ValueError("the subject does not end with an inbound id")
    return Delivery(raw, item.slot, item.position or 0, headers.get("traceparent"), item.chunks)


def read_unchecked(item: StreamMessage, otherwise: datetime) -> RawDelivery:
    """Read the envelope of any message; never fails.

    `otherwise` is the time of receipt if the message has none.
    """
    _, channel, token, *_ = [*item.subject.split("."), "", ""]
    headers: Mapping[str, str] = item.headers
    key, conversation = headers.get(KEY_HEADER), headers.get(CONVERSATION_HEADER)
    return RawDelivery(
        clean(channel),
        clean(unquote(headers.get(ACCOUNT_HEADER, token))),
        inbound_id_of(item.subject),
        item.data,
        received_at(headers, otherwise),
        sha256(item.data).hexdigest(),
        clean(unquote(key)) if key else None,
        _sender(headers.get(SENDER_HEADER)),
        envelope=tuple(
            clean(unquote(address))
            for address in _BRACKETED.findall(headers.get(ENVELOPE_HEADER, ""))
        ),
        conversation=clean(unquote(conversation)) if conversation else None,
        form=headers.get(FORM_HEADER, ""),
    )


def _sender(header: str | None) -> Person | None:
    """Return the sender as the gateway authenticated it, or None if it cannot be read."""
    if not header:
        return None
    try:
        values = json.loads(unquote(header))
        return Person(
            **{name: clean(str(values[name])) for name in PERSON_FIELDS if name in values}
        )
    except (ValueError, TypeError):
        return None


def inbound_id_of(subject: str) -> str:
    """Return the inbound id in a subject, or an id derived from a subject that has none."""
    try:
        return str(UUID(subject.rsplit(".", 1)[-1]))
    except ValueError:
        return str(uuid5(NAMESPACE, subject))


def repeated_id(inbound_id: str, epoch: int, sequence: int) -> str:
    """Return the id of a delivery that is in INBOUND a second time, with this sequence."""
    return str(uuid5(UUID(inbound_id), f"again at {epoch}/{sequence}"))


def received_at(headers: Mapping[str, str], otherwise: datetime) -> datetime:
    """Return when the gateway received a delivery, by its headers."""
    try:
        at = datetime.fromisoformat(headers.get(RECEIVED_HEADER, ""))
    except ValueError:
        return otherwise
    return at if at.tzinfo else otherwise
