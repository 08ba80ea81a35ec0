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
from ingest.channels.email.message import UNREAD
from ingest.channels.email.mime import HEAD
from ingest.channels.email.sender_rate import Who
from ingest.domain.items import Beside, Item, Person, Raw, Thread
from ingest.domain.threading import UNPROVEN, id_of_ours

OWN = "one of our own addresses"
OURS = "it answers a mail of ours"
SPOKEN_FOR = "it was sent in its author's name: its Reply-To says who that is"
ASKS = "it asks to be answered at another address"
BY_NAME = "it came to no address that names a message, signed by us"

REPLY, BOUNCE = "reply", "bounce"
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


def opened(
    item: Item,
    mailbox: Mailbox | None,
    mailboxes: Callable[[str], Mailbox | None] = lambda _: None,
) -> Item:
    """Give an item with what the mailbox knows of it, and the others it was sent to."""
    if mailbox is None or item.thread is None:
        return item
    thread = item.thread
    found = mailbox.tags_in(thread.to)
    if item.kind == "receipt":
        return _reported(item, thread, found, mailbox)
    if thread.reply_to is not None and not mailbox.is_own(thread.reply_to.address):
        item = _answered_elsewhere(item, thread, thread.reply_to, mailbox)
        thread = item.thread or thread
    known = replace(
        _known(thread, found, mailbox), beside=tuple(_beside(thread, mailbox, mailboxes))
    )
    return replace(item, thread=known, no_auto_response=_why_silent(item, known, mailbox))


def _beside(
    thread: Thread, mailbox: Mailbox, mailboxes: Callable[[str], Mailbox | None]
) -> Iterator[Beside]:
    """Say what its addresses are to the other mailboxes of ours among them."""
    here = mailbox.owner(mailbox.address)
    owners = dict.fromkeys(map(mailbox.owner, thread.to))
    for name in owners:
        other = mailboxes(name) if name is not None and name != here else None
        if name is not None and other is not None:
            tag, signed = _tag(other.tags_in(thread.to), other)
            yield Beside(name, tag, signed)


def _answered_elsewhere(item: Item, thread: Thread, asked: Person, mailbox: Mailbox) -> Item:
    """Follow a mail's wish to be answered at another address, as far as it can do no harm.

    Whoever writes for others names the author there, and proves nothing of them: so the mail joins
    no conversation. Else its author stays its author; a request it begins is answered where it asks
    to be if its sender is proven, for a forged mail asks for an answer, too.
    """
    if item.person is None or _writes_for_others(item.person.address, mailbox):
        known = replace(thread, doubt=thread.doubt or SPOKEN_FOR)
        return replace(item, person=asked, thread=known, flags=(*item.flags, SPOKEN_FOR))
    if thread.doubt is None and _verdict(thread, mailbox) == "pass":
        thread = replace(thread, answer_to=asked.address)
    return replace(item, thread=thread, flags=(*item.flags, ASKS))


def _writes_for_others(address: str, mailbox: Mailbox) -> bool:
    unread = UNREAD.fullmatch(address.rpartition("@")[0]) is not None
    return unread or address in mailbox.forwarders or mailbox.is_own(address)


def _reported(item: Item, thread: Thread, found: list[Tag], mailbox: Mailbox) -> Item:
    """Find the message of ours a report is about: by the address it came to, or by its name.

    A name is less: it stands in every copy of the mail, and in all that answers or forwards it.
    """
    by_address = (str(tag.id) for tag in found if tag.issued(BOUNCE, mailbox.secrets))
    here = (id for id in thread.answers if _is_here(id, mailbox))
    by_name = (str(id) for id in map(id_of_ours, here) if id is not None)
    about, name = next(by_address, None), next(by_name, None)
    if about is None and name is None:
        return replace(item, kind="noted", state=None, thread=None)
    reason = item.reason if about is not None else f"{item.reason}; {BY_NAME}"
    permanent = item.permanent and about is not None
    return replace(item, thread=None, reference=about or name, reason=reason, permanent=permanent)


def counted_as(item: Item, account: str, mailbox: Mailbox) -> Who | None:
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
REFUSED = "refused"


def refused_as(raw: Raw) -> Who:
    """Say as whose a mail is counted that could not be read: by its envelope, and what it says.

    Apart from what could be read, so that nobody is kept out by less than both.
    """
    told = _FROM.search(raw.body, 0, HEAD)
    found = _ADDRESS.findall(told[1])[-1:] if told else []
    said = b"".join(found).lower().decode(errors="replace")
    return raw.account, " ".join([*raw.envelope[:1], said]), REFUSED


def _verdict(thread: Thread, mailbox: Mailbox) -> str | None:
    """Give what our own server found of its sender."""
    return dict(thread.verdicts).get(mailbox.server) if mailbox.server is not None else None


def _is_here(id: str, mailbox: Mailbox) -> bool:
    """Whether an id was given here."""
    return id.lower().endswith(f"@{mailbox.address.rpartition('@')[2]}>")


def _why_silent(item: Item, thread: Thread, mailbox: Mailbox) -> str | None:
    """Say why no machine of ours may answer it."""
    own = item.person is not None and mailbox.is_own(item.person.address)
    answers = thread.signed or any(_is_here(each, mailbox) for each in thread.answers)
    return item.no_auto_response or thread.doubt or (OWN if own else OURS if answers else None)


def _tag(found: list[Tag], mailbox: Mailbox) -> tuple[UUID | None, bool]:
    """Give what its reply address names, one that is signed first, and whether it is."""
    signed = next((tag for tag in found if tag.issued(REPLY, mailbox.secrets)), None)
    back = _returned(found, mailbox)
    tag = signed or next((each for each in found if each not in back), None)
    return (tag.id if tag else None), signed is not None


def _returned(found: list[Tag], mailbox: Mailbox) -> list[Tag]:
    """Give those that name a mail of ours, in an address it was sent from."""
    return [tag for tag in found if tag.issued(BOUNCE, mailbox.secrets)]


def _known(thread: Thread, found: list[Tag], mailbox: Mailbox) -> Thread:
    tag, signed = _tag(found, mailbox)
    # Who answers the address our mail came from, as machines do, answers that mail.
    back = (f"<{tag.id}@back>" for tag in _returned(found, mailbox))
    return replace(
        thread,
        answers=(*back, *thread.answers),
        to=tuple(each for each in thread.to if not mailbox.is_own(each)),
        tag=tag,
        signed=signed,
        acknowledged=mailbox.acknowledges,
        doubt=UNPROVEN if _verdict(thread, mailbox) == "fail" else thread.doubt,
    )
