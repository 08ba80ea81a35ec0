"""Which conversation a message belongs to, where messages are named and conversations are not.

It is found by the reply address it was sent to, then by the messages it names: every message id
seen is remembered with its conversation, those of our replies, those of messages that came, and
those that were only mentioned. A subject is never looked at. Whoever has no part in a conversation
adds nothing to it, whatever they know of it. Long: the rules are read in their order.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import UUID, uuid5

from ingest.domain.items import Thread
from trunkline_contracts.fact import NAMESPACE

Kind = Literal["issued", "received", "mentioned"]

SIGNED, PLUS, ANCESTOR = "reply_address", "plus_token", "common_ancestor"
RULES: dict[Kind, str] = {
    "issued": "our_message_id",
    "received": "known_message_id",
    "mentioned": ANCESTOR,
}
COPY = "copy"
ORDER = (SIGNED, *list(RULES.values())[:2], PLUS, ANCESTOR)
"""The rules, the strongest first, as `threaded_by` names them."""

STRANGER = "it names a conversation its sender has no part in"
TORN = "it names messages of several conversations"
ELSEWHERE = "its reply address is of another conversation than the messages it names"
UNSIGNED = "its reply address is not signed with a key in force"
UNKNOWN = "its reply address is of no conversation known here"
UNPROVEN = "its sender is not proven: DMARC failed"


@dataclass(frozen=True, slots=True)
class Named:
    """A message id that is known, and where it belongs."""

    conversation: UUID
    kind: Kind
    contact: UUID | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """A mail that has arrived already, maybe in another mailbox, and where it went."""

    message_id: UUID
    request_id: UUID | None = None
    conversation: UUID | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A conversation a message may belong to, and the rule that says so."""

    conversation: UUID
    rule: str


@dataclass(frozen=True, slots=True)
class Found:
    """Where a message belongs, by which rule, and what is doubtful about that."""

    claim: Claim | None = None
    flags: tuple[str, ...] = ()
    ours: UUID | None = None
    """The conversation of what it answers when that is ours, whoever sent it."""
    back: UUID | None = None
    """That of the message of ours it is, come back to us."""
    copy: Copy | None = None
    """What it is another copy of."""

    @property
    def belongs(self) -> bool:
        """Whether anything known here is named by it."""
        return self.claim is not None or self.ours is not None or self.back is not None

    def beside(self, copy: Copy | None) -> "Found":
        """Give what was found, given what it is a copy of; what says where it belongs counts."""
        if copy is None or (self.claim and self.claim.conversation != copy.conversation):
            return self
        claim = Claim(copy.conversation, COPY) if copy.conversation else self.claim
        return replace(self, claim=claim, copy=copy)


def key_of(account: str, id: str) -> UUID:
    """Give the key of a message id in one mailbox."""
    return uuid5(NAMESPACE, f"named\n{account}\n{id_of_ours(id) or id}")


def id_of_ours(id: str) -> UUID | None:
    """Ours are known by what stands before the @, whatever the mailbox's domain was then."""
    local = id.strip("<>").partition("@")[0]
    try:
        return UUID(local) if len(local) == 36 else None
    except ValueError:
        return None


def keys_of(account: str, thread: Thread) -> list[UUID]:
    """Give the keys of all ids a message names, its own first."""
    return [key_of(account, id) for id in (thread.id, *thread.answers)]


@dataclass(slots=True)
class Threads:
    """The ids at hand, and those that are new; who has a part in which conversation."""

    known: dict[UUID, Named] = field(default_factory=dict)
    learnt: set[UUID] = field(default_factory=set)
    parts: set[tuple[UUID, UUID]] = field(default_factory=set)
    """Conversations and contacts that have a part in them."""
    joined: set[tuple[UUID, UUID]] = field(default_factory=set)
    """Those that are new."""
    copies: dict[UUID, Copy] = field(default_factory=dict)
    """Mails that have arrived, by what they are in every mailbox."""
    arrived: set[UUID] = field(default_factory=set)
    """Those that are new."""

    def find(
        self, account: str, thread: Thread, contact: UUID | None, there: Container[UUID]
    ) -> Found:
        """Say where a message belongs; `there` are the conversations that exist."""
        own, *answers = (self.known.get(key) for key in keys_of(account, thread))
        claims = sorted(self._claims(thread, contact, own, answers), key=_rank)
        real = [each for each in claims if each.conversation in there]
        good = [each for each in real if not thread.doubt and self._has_part(each, contact)]
        told = [each for each in real if each.rule != ANCESTOR]
        flags = _flags(thread, told, stranger=bool(told) and not good, there=there)
        ours = (each for each in told if each.rule in {SIGNED, RULES["issued"]})
        return Found(
            next(iter(good), None),
            tuple(flags),
            next((each.conversation for each in ours), None),
            own.conversation if own is not None and own.kind == "issued" else None,
        )

    def _claims(
        self, thread: Thread, contact: UUID | None, own: Named | None, answers: list[Named | None]
    ) -> Iterator[Claim]:
        if thread.tag is not None:
            yield Claim(thread.tag, SIGNED if thread.signed else PLUS)
        for each in (*answers, own if own is not None and own.kind == "mentioned" else None):
            # What was only mentioned proves nothing unless the same person mentions it again.
            if each is not None and (each.kind != "mentioned" or each.contact == contact):
                yield Claim(each.conversation, RULES[each.kind])

    def _has_part(self, claim: Claim, contact: UUID | None) -> bool:
        return claim.rule == ANCESTOR or (
            contact is not None and (claim.conversation, contact) in self.parts
        )

    def learn(self, account: str, thread: Thread, conversation: UUID, contact: UUID | None) -> None:
        """Remember a message that came, and those it names."""
        own, *answers = keys_of(account, thread)
        before = self.known.get(own)
        if before is None or before.kind == "mentioned":
            self._put(own, Named(conversation, "received", contact))
        for key in answers:
            if key not in self.known:
                self._put(key, Named(conversation, "mentioned", contact))

    def join(self, conversation: UUID, contacts: Iterable[UUID]) -> None:
        """Remember who has a part in a conversation: who wrote, and to whom it was sent."""
        new = {(conversation, contact) for contact in contacts} - self.parts
        self.parts |= new
        self.joined |= new

    def arrive(self, key: UUID, copy: Copy) -> None:
        """Remember a mail that has arrived, so that another copy is known as one."""
        if key not in self.copies:
            self.copies[key] = copy
            self.arrived.add(key)

    def issue(self, account: str, message: UUID, conversation: UUID) -> None:
        """Remember a message of ours."""
        self._put(key_of(account, str(message)), Named(conversation, "issued"))

    def _put(self, key: UUID, named: Named) -> None:
        self.known[key] = named
        self.learnt.add(key)


def _rank(claim: Claim) -> int:
    return ORDER.index(claim.rule)


def _flags(
    thread: Thread, told: list[Claim], *, stranger: bool, there: Container[UUID]
) -> Iterator[str]:
    """Say what is doubtful about what a message names."""
    by_name = {each.conversation for each in told if each.rule in RULES.values()}
    if thread.doubt is not None or stranger:
        yield thread.doubt or STRANGER
    if thread.tag is not None and not thread.signed:
        yield UNSIGNED
    elif thread.tag is not None and thread.tag not in there:
        yield UNKNOWN
    if thread.tag in there and by_name - {thread.tag}:
        yield ELSEWHERE
    if len(by_name) > 1:
        yield TORN
