"""What a mailbox knows that a mail's reader may not: its secret, its addresses, its own server.

A mail is taken apart by a process without credentials; here, in ours, the tag of the address it
was sent to is checked. Longer than other files: all that is done with secrets and addresses of ours
stands side by side.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from chassis.auth import signed_ids
from chassis.auth.signed_ids import Tag
from ingest.channels.email.message import NO_REPLY_LOCAL_PART
from ingest.channels.email.mime import MAX_HEADERS_BYTES
from ingest.channels.email.sender_rate import SenderKey
from ingest.domain.items import InboundItem, OtherMailbox, Person, RawDelivery, ThreadingHeaders
from ingest.domain.threading import DMARC_FAILED, own_message_id

OWN_ADDRESS = "one of our own addresses"
ANSWERS_OWN_MAIL = "it answers a mail of ours"
SENT_ON_BEHALF = "it was sent in its author's name: its Reply-To says who that is"
REPLY_TO_ELSEWHERE = "it asks to be answered at another address"
BY_MESSAGE_ID = "it came to no address that names a message, signed by us"

REPLY_TAG, BOUNCE_TAG = "reply", "bounce"
"""What an address's tag is for: it names a conversation, or a message of ours that came back."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An account's address, and whom it believes."""

    address: str
    """In the form addresses are known by."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    own: Mapping[str, str] = field(default_factory=dict)
    """The addresses of all our mailboxes, and whose each is: who writes from there is one of us."""
    server: str | None = None
    """The name under which our own server says what it found of senders (RFC 8601)."""
    acknowledges: bool = False
    per_sender: tuple[int, int] = (20, 60)
    """How many mails of one address are taken in, in how many seconds."""
    forwarders: frozenset[str] = frozenset()
    """Addresses that write for others."""

    def tag_of(self, address: str) -> Tag | None:
        """Read the tag of an address of this mailbox."""
        local, _, domain = address.rpartition("@")
        name, _, tag = local.partition("+")
        return signed_ids.read(tag) if f"{name}@{domain}" == self.address else None

    def tags_in(self, addresses: Iterable[str]) -> list[Tag]:
        """Read the tags of those addresses that are this mailbox's."""
        return [tag for address in addresses if (tag := self.tag_of(address)) is not None]

    def owner(self, address: str) -> str | None:
        """Give the account whose address it is, with or without a tag."""
        local, _, domain = address.rpartition("@")
        return self.own.get(address) or self.own.get(f"{local.partition('+')[0]}@{domain}")

    def is_own(self, address: str) -> bool:
        """Whether it is an address of ours, with or without a tag."""
        return self.owner(address) is not None


def with_mailbox_context(
    item: InboundItem,
    mailbox: Mailbox | None,
    mailboxes: Callable[[str], Mailbox | None] = lambda _: None,
) -> InboundItem:
    """Give an item with what the mailbox knows of it, and the others it was sent to."""
    if mailbox is None or item.thread is None:
        return item
    thread = item.thread
    found = mailbox.tags_in(thread.to)
    if item.kind == "receipt":
        return _resolve_report(item, thread, found, mailbox)
    if thread.reply_to is not None and not mailbox.is_own(thread.reply_to.address):
        item = _apply_reply_to(item, thread, thread.reply_to, mailbox)
        thread = item.thread or thread
    known = replace(
        _with_tag(thread, found, mailbox),
        beside=tuple(_other_mailboxes(thread, mailbox, mailboxes)),
    )
    return replace(item, thread=known, no_auto_response=_no_response_reason(item, known, mailbox))


def _other_mailboxes(
    thread: ThreadingHeaders, mailbox: Mailbox, mailboxes: Callable[[str], Mailbox | None]
) -> Iterator[OtherMailbox]:
    """Say what its addresses are to the other mailboxes of ours among them."""
    here = mailbox.owner(mailbox.address)
    owners = dict.fromkeys(map(mailbox.owner, thread.to))
    for name in owners:
        other = mailboxes(name) if name is not None and name != here else None
        if name is not None and other is not None:
            tag, signed = _conversation_tag(other.tags_in(thread.to), other)
            yield OtherMailbox(name, tag, signed)


def _apply_reply_to(
    item: InboundItem, thread: ThreadingHeaders, asked: Person, mailbox: Mailbox
) -> InboundItem:
    """Follow a mail's wish to be answered at another address, as far as it can do no harm.

    Whoever writes for others names the author there, and proves nothing of them: so the mail joins
    no conversation. Else its author stays its author; a request it begins is answered where it asks
    to be if its sender is proven, for a forged mail asks for an answer, too.
    """
    if item.person is None or _writes_for_others(item.person.address, mailbox):
        known = replace(thread, doubt=thread.doubt or SENT_ON_BEHALF)
        return replace(item, person=asked, thread=known, flags=(*item.flags, SENT_ON_BEHALF))
    if thread.doubt is None and _verdict(thread, mailbox) == "pass":
        thread = replace(thread, answer_to=asked.address)
    return replace(item, thread=thread, flags=(*item.flags, REPLY_TO_ELSEWHERE))


def _writes_for_others(address: str, mailbox: Mailbox) -> bool:
    unread = NO_REPLY_LOCAL_PART.fullmatch(address.rpartition("@")[0]) is not None
    return unread or address in mailbox.forwarders or mailbox.is_own(address)


def _resolve_report(
    item: InboundItem, thread: ThreadingHeaders, found: list[Tag], mailbox: Mailbox
) -> InboundItem:
    """Find the message of ours a report is about: by the address it came to, or by its name.

    A name is less: it stands in every copy of the mail, and in all that answers or forwards it.
    """
    by_address = (str(tag.id) for tag in found if tag.issued(BOUNCE_TAG, mailbox.secrets))
    here = (id for id in thread.answers if _is_own_message_id(id, mailbox))
    by_name = (str(id) for id in map(own_message_id, here) if id is not None)
    about, name = next(by_address, None), next(by_name, None)
    if about is None and name is None:
        return replace(item, kind="noted", state=None, thread=None)
    reason = item.reason if about is not None else f"{item.reason}; {BY_MESSAGE_ID}"
    permanent = item.permanent and about is not None
    return replace(item, thread=None, reference=about or name, reason=reason, permanent=permanent)


def sender_key(item: InboundItem, account: str, mailbox: Mailbox) -> SenderKey | None:
    """Say as whose a message is counted.

    What somebody else writes in a person's name is counted apart from what is proven to be theirs:
    nobody is kept out by forged mails.
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
    """Say as whose a mail is counted that could not be read: by its envelope, and what it says.

    Apart from what could be read, so that nobody is kept out by less than both.
    """
    told = _FROM.search(raw.body, 0, MAX_HEADERS_BYTES)
    found = _ADDRESS.findall(told[1])[-1:] if told else []
    said = b"".join(found).lower().decode(errors="replace")
    return raw.account, " ".join([*raw.envelope[:1], said]), UNREADABLE


def _verdict(thread: ThreadingHeaders, mailbox: Mailbox) -> str | None:
    """Give what our own server found of its sender."""
    return dict(thread.verdicts).get(mailbox.server) if mailbox.server is not None else None


def _is_own_message_id(id: str, mailbox: Mailbox) -> bool:
    """Whether an id was given here."""
    return id.lower().endswith(f"@{mailbox.address.rpartition('@')[2]}>")


def _no_response_reason(
    item: InboundItem, thread: ThreadingHeaders, mailbox: Mailbox
) -> str | None:
    """Say why no machine of ours may answer it."""
    own = item.person is not None and mailbox.is_own(item.person.address)
    answers = thread.signed or any(_is_own_message_id(each, mailbox) for each in thread.answers)
    return (
        item.no_auto_response
        or thread.doubt
        or (OWN_ADDRESS if own else ANSWERS_OWN_MAIL if answers else None)
    )


def _conversation_tag(found: list[Tag], mailbox: Mailbox) -> tuple[UUID | None, bool]:
    """Give what its reply address names, one that is signed first, and whether it is."""
    signed = next((tag for tag in found if tag.issued(REPLY_TAG, mailbox.secrets)), None)
    back = _bounce_tags(found, mailbox)
    tag = signed or next((each for each in found if each not in back), None)
    return (tag.id if tag else None), signed is not None


def _bounce_tags(found: list[Tag], mailbox: Mailbox) -> list[Tag]:
    """Give those that name a mail of ours, in an address it was sent from."""
    return [tag for tag in found if tag.issued(BOUNCE_TAG, mailbox.secrets)]


def _with_tag(thread: ThreadingHeaders, found: list[Tag], mailbox: Mailbox) -> ThreadingHeaders:
    tag, signed = _conversation_tag(found, mailbox)
    # Who answers the address our mail came from, as machines do, answers that mail.
    back = (f"<{tag.id}@back>" for tag in _bounce_tags(found, mailbox))
    return replace(
        thread,
        answers=(*back, *thread.answers),
        to=tuple(each for each in thread.to if not mailbox.is_own(each)),
        tag=tag,
        signed=signed,
        acknowledged=mailbox.acknowledges,
        doubt=DMARC_FAILED if _verdict(thread, mailbox) == "fail" else thread.doubt,
    )
