"""Add to a parsed mail what only its mailbox knows: its secrets, its addresses, its mail server.

The parser's process has no credentials. Here, in the service's process, the tag of the recipient
address is verified.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from chassis.auth import signed_ids
from chassis.auth.signed_ids import SignedId
from ingest.channels.email.message import NO_REPLY_LOCAL_PART
from ingest.channels.email.mime import MAX_HEADERS_BYTES
from ingest.channels.email.sender_rate import SenderKey
from ingest.domain.items import InboundItem, OtherMailbox, Person, RawDelivery, ThreadingHeaders
from ingest.domain.threading import DMARC_FAILED, own_message_id

OWN_ADDRESS = "one of our own addresses"
ANSWERS_OWN_MAIL = "it answers a mail of ours"
SENT_ON_BEHALF = "it was sent on its author's behalf: its Reply-To names the author"
REPLY_TO_ELSEWHERE = "it asks to be answered at another address"
BY_MESSAGE_ID = "it came to no signed address that names a message"

REPLY_TAG, BOUNCE_TAG = "reply", "bounce"
"""Purposes of an address tag: it names a conversation, or a message of ours that bounced."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An e-mail account: its address, its secrets, and which senders it trusts."""

    address: str
    """In normalized form."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    own: Mapping[str, str] = field(default_factory=dict)
    """All our mailboxes' addresses with their accounts: mails from these are our own."""
    server: str | None = None
    """The name of our mail server in `Authentication-Results` (RFC 8601)."""
    acknowledges: bool = False
    per_sender: tuple[int, int] = (20, 60)
    """Mails allowed from one address, and the period in seconds."""
    forwarders: frozenset[str] = frozenset()
    """Addresses that write on behalf of others."""

    def tag_of(self, address: str) -> SignedId | None:
        """Return the tag of an address of this mailbox."""
        local, _, domain = address.rpartition("@")
        name, _, tag = local.partition("+")
        return signed_ids.read(tag) if f"{name}@{domain}" == self.address else None

    def tags_in(self, addresses: Iterable[str]) -> list[SignedId]:
        """Return the tags of this mailbox among the addresses."""
        return [tag for address in addresses if (tag := self.tag_of(address)) is not None]

    def owner(self, address: str) -> str | None:
        """Return the account of an address, with or without a tag."""
        local, _, domain = address.rpartition("@")
        return self.own.get(address) or self.own.get(f"{local.partition('+')[0]}@{domain}")

    def is_own(self, address: str) -> bool:
        """Return whether an address is one of ours, with or without a tag."""
        return self.owner(address) is not None


def with_mailbox_context(
    item: InboundItem,
    mailbox: Mailbox | None,
    mailboxes: Callable[[str], Mailbox | None] = lambda _: None,
) -> InboundItem:
    """Return an item with what its mailbox knows, and the other mailboxes it was sent to."""
    if mailbox is None or item.thread is None:
        return item
    thread = item.thread
    tags = mailbox.tags_in(thread.to)
    if item.kind == "receipt":
        return _resolve_report(item, thread, tags, mailbox)
    if thread.reply_to is not None and not mailbox.is_own(thread.reply_to.address):
        item = _apply_reply_to(item, thread, thread.reply_to, mailbox)
        thread = item.thread or thread
    tagged = replace(
        _with_tag(thread, tags, mailbox),
        beside=tuple(_other_mailboxes(thread, mailbox, mailboxes)),
    )
    return replace(item, thread=tagged, no_auto_response=_no_response_reason(item, tagged, mailbox))


def _other_mailboxes(
    thread: ThreadingHeaders, mailbox: Mailbox, mailboxes: Callable[[str], Mailbox | None]
) -> Iterator[OtherMailbox]:
    """Yield the other mailboxes of ours among the recipients, with their tags."""
    own_account = mailbox.owner(mailbox.address)
    owners = dict.fromkeys(map(mailbox.owner, thread.to))
    for name in owners:
        other = mailboxes(name) if name is not None and name != own_account else None
        if name is not None and other is not None:
            tag, signed = _conversation_tag(other.tags_in(thread.to), other)
            yield OtherMailbox(name, tag, signed)


def _apply_reply_to(
    item: InboundItem, thread: ThreadingHeaders, reply_to: Person, mailbox: Mailbox
) -> InboundItem:
    """Apply a mail's `Reply-To` where that is safe.

    A sender that writes on behalf of others names the author in it and proves nothing about them:
    such a mail joins no conversation. Otherwise the author stays; a request the mail opens is
    answered at the reply address only if the author is proven, because a forged mail has a reply
    address, too.
    """
    if item.person is None or _writes_for_others(item.person.address, mailbox):
        doubtful = replace(thread, doubt=thread.doubt or SENT_ON_BEHALF)
        return replace(item, person=reply_to, thread=doubtful, flags=(*item.flags, SENT_ON_BEHALF))
    if thread.doubt is None and _verdict(thread, mailbox) == "pass":
        thread = replace(thread, answer_to=reply_to.address)
    return replace(item, thread=thread, flags=(*item.flags, REPLY_TO_ELSEWHERE))


def _writes_for_others(address: str, mailbox: Mailbox) -> bool:
    unread = NO_REPLY_LOCAL_PART.fullmatch(address.rpartition("@")[0]) is not None
    return unread or address in mailbox.forwarders or mailbox.is_own(address)


def _resolve_report(
    item: InboundItem, thread: ThreadingHeaders, found: list[SignedId], mailbox: Mailbox
) -> InboundItem:
    """Find our message that a report is about, by the recipient address or by its Message-ID.

    A Message-ID proves less: it is in every copy of the mail, in answers and in forwards.
    """
    by_address = (str(tag.id) for tag in found if tag.issued(BOUNCE_TAG, mailbox.secrets))
    own_ids = (id for id in thread.answers if _is_own_message_id(id, mailbox))
    by_name = (str(id) for id in map(own_message_id, own_ids) if id is not None)
    tagged_id, named_id = next(by_address, None), next(by_name, None)
    if tagged_id is None and named_id is None:
        return replace(item, kind="noted", state=None, thread=None)
    reason = item.reason if tagged_id is not None else f"{item.reason}; {BY_MESSAGE_ID}"
    permanent = item.permanent and tagged_id is not None
    return replace(
        item, thread=None, reference=tagged_id or named_id, reason=reason, permanent=permanent
    )


def sender_key(item: InboundItem, account: str, mailbox: Mailbox) -> SenderKey | None:
    """Return the key under which a mail is counted for its sender's rate.

    Mails forged in a person's name are counted apart from proven ones, so that they block nobody.
    """
    if item.kind != "message" or item.person is None or item.thread is None:
        return None
    found = item.thread.doubt or _verdict(item.thread, mailbox)
    return account, item.person.address, found or ""


_FROM = re.compile(
    rb"^from:[ \t]{0,99}([^\r\n]{1,1000}(?:\r?\n[ \t][^\r\n]{1,1000}){0,9})",
    re.IGNORECASE | re.MULTILINE,
)
_ADDRESS = re.compile(rb"[^\s<>\"(),;:@]{1,200}@[^\s<>\"(),;:@]{1,200}")
UNREADABLE = "refused"


def unreadable_sender_key(raw: RawDelivery) -> SenderKey:
    """Return the key under which an unreadable mail is counted: by envelope and `From`.

    Both are needed, and readable mails are counted apart, so that a forged `From` blocks nobody.
    """
    header = _FROM.search(raw.body, 0, MAX_HEADERS_BYTES)
    found = _ADDRESS.findall(header[1])[-1:] if header else []
    address = b"".join(found).lower().decode(errors="replace")
    return raw.account, " ".join([*raw.envelope[:1], address]), UNREADABLE


def _verdict(thread: ThreadingHeaders, mailbox: Mailbox) -> str | None:
    """Return our own server's DMARC verdict about the author."""
    return dict(thread.verdicts).get(mailbox.server) if mailbox.server is not None else None


def _is_own_message_id(id: str, mailbox: Mailbox) -> bool:
    """Return whether a message id was issued by this mailbox's domain."""
    return id.lower().endswith(f"@{mailbox.address.rpartition('@')[2]}>")


def _no_response_reason(
    item: InboundItem, thread: ThreadingHeaders, mailbox: Mailbox
) -> str | None:
    """Return why the mail must not be answered automatically."""
    own = item.person is not None and mailbox.is_own(item.person.address)
    answers = thread.signed or any(_is_own_message_id(id, mailbox) for id in thread.answers)
    return (
        item.no_auto_response
        or thread.doubt
        or (OWN_ADDRESS if own else ANSWERS_OWN_MAIL if answers else None)
    )


def _conversation_tag(tags: list[SignedId], mailbox: Mailbox) -> tuple[UUID | None, bool]:
    """Return the conversation the recipient address names, a signed one first, and whether it is
    signed."""
    signed = next((tag for tag in tags if tag.issued(REPLY_TAG, mailbox.secrets)), None)
    back = _bounce_tags(tags, mailbox)
    tag = signed or next((candidate for candidate in tags if candidate not in back), None)
    return (tag.id if tag else None), signed is not None


def _bounce_tags(found: list[SignedId], mailbox: Mailbox) -> list[SignedId]:
    """Return the tags of addresses that a mail of ours was sent from."""
    return [tag for tag in found if tag.issued(BOUNCE_TAG, mailbox.secrets)]


def _with_tag(thread: ThreadingHeaders, tags: list[SignedId], mailbox: Mailbox) -> ThreadingHeaders:
    tag, signed = _conversation_tag(tags, mailbox)
    # A mail to the sending address of our mail, as machines write it, answers that mail.
    back = (f"<{tag.id}@back>" for tag in _bounce_tags(tags, mailbox))
    return replace(
        thread,
        answers=(*back, *thread.answers),
        to=tuple(address for address in thread.to if not mailbox.is_own(address)),
        tag=tag,
        signed=signed,
        acknowledged=mailbox.acknowledges,
        doubt=DMARC_FAILED if _verdict(thread, mailbox) == "fail" else thread.doubt,
    )
