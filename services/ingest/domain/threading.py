"""Find the conversation a mail belongs to: mails name messages, not conversations.

A mail belongs to the conversation of the reply address it was sent to, else to that of a message it
names. Every message id is remembered with its conversation: those of our replies, those of mails
that arrived, and those that were only mentioned. Subjects are ignored. A sender who is not a
participant of a conversation adds nothing to it, even if they know its message ids.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import UUID, uuid5

from ingest.domain.items import ThreadingHeaders
from trunkline_contracts.fact import NAMESPACE

MessageIdKind = Literal["issued", "received", "mentioned"]

BY_REPLY_ADDRESS = "reply_address"
BY_PLUS_TOKEN = "plus_token"  # noqa: S105 (the name of a rule)
BY_COMMON_ANCESTOR = "common_ancestor"
RULE_OF_KIND: dict[MessageIdKind, str] = {
    "issued": "our_message_id",
    "received": "known_message_id",
    "mentioned": BY_COMMON_ANCESTOR,
}
BY_DUPLICATE = "copy"
RULE_ORDER = (BY_REPLY_ADDRESS, *list(RULE_OF_KIND.values())[:2], BY_PLUS_TOKEN, BY_COMMON_ANCESTOR)
"""The rules, the strongest first, by their names in `threaded_by`."""

NOT_A_PARTICIPANT = "it names a conversation its sender does not participate in"
CONFLICTING_REFERENCES = "it names messages of several conversations"
CONFLICTING_REPLY_ADDRESS = (
    "its reply address belongs to another conversation than the messages it names"
)
UNSIGNED_REPLY_ADDRESS = "its reply address is not signed with a key in force"
UNKNOWN_REPLY_ADDRESS = "its reply address belongs to no known conversation"
DMARC_FAILED = "its sender is not proven: DMARC failed"


@dataclass(frozen=True, slots=True)
class KnownMessageId:
    """A known message id, and the conversation it belongs to."""

    conversation: UUID
    kind: MessageIdKind
    contact: UUID | None = None


@dataclass(frozen=True, slots=True)
class DuplicateMail:
    """The first arrival of a mail, in this mailbox or another, and its request."""

    message_id: UUID
    request_id: UUID | None = None
    conversation: UUID | None = None


@dataclass(frozen=True, slots=True)
class ConversationMatch:
    """A conversation a mail may belong to, and the rule that found it."""

    conversation: UUID
    rule: str


@dataclass(frozen=True, slots=True)
class ThreadMatch:
    """The result of the search for a mail's conversation, and the doubts about it."""

    best: ConversationMatch | None = None
    flags: tuple[str, ...] = ()
    answers_own: UUID | None = None
    """The conversation of our own message that the mail answers, from any sender."""
    returned_from: UUID | None = None
    """The conversation of our own message, if the mail is that message come back."""
    duplicate: DuplicateMail | None = None
    """The first arrival of the same mail."""

    @property
    def is_known(self) -> bool:
        """Return whether the mail names anything that is known here."""
        found = (self.best, self.answers_own, self.returned_from)
        return any(match is not None for match in found)

    def with_duplicate(self, mail: DuplicateMail | None) -> "ThreadMatch":
        """Return the match with the first arrival of the mail.

        A match with another conversation than the first arrival's outweighs it.
        """
        if mail is None or (self.best and self.best.conversation != mail.conversation):
            return self
        by_duplicate = (
            ConversationMatch(mail.conversation, BY_DUPLICATE) if mail.conversation else self.best
        )
        return replace(self, best=by_duplicate, duplicate=mail)


def message_id_key(account: str, id: str) -> UUID:
    """Return the key of a message id in one mailbox."""
    return uuid5(NAMESPACE, f"named\n{account}\n{own_message_id(id) or id}")


def own_message_id(id: str) -> UUID | None:
    """Return our message's id from its Message-ID, or None if it is not one of ours.

    Only the part before the @ counts: the mailbox may have had another domain then.
    """
    local = id.strip("<>").partition("@")[0]
    try:
        return UUID(local) if len(local) == 36 else None
    except ValueError:
        return None


def message_id_keys(account: str, thread: ThreadingHeaders) -> list[UUID]:
    """Return the keys of all message ids a mail names, its own first."""
    return [message_id_key(account, id) for id in (thread.id, *thread.answers)]


@dataclass(slots=True)
class ThreadIndex:
    """The known message ids, participants and mails of the conversations at issue."""

    message_ids: dict[UUID, KnownMessageId] = field(default_factory=dict)
    new_message_ids: set[UUID] = field(default_factory=set)
    participants: set[tuple[UUID, UUID]] = field(default_factory=set)
    """Pairs of a conversation and a contact that participates in it."""
    new_participants: set[tuple[UUID, UUID]] = field(default_factory=set)
    mails: dict[UUID, DuplicateMail] = field(default_factory=dict)
    """The first arrivals of mails, by the key a mail has in every mailbox."""
    new_mails: set[UUID] = field(default_factory=set)

    def find(
        self,
        account: str,
        thread: ThreadingHeaders,
        contact: UUID | None,
        existing: Container[UUID],
    ) -> ThreadMatch:
        """Find the conversation a mail belongs to, among the `existing` ones."""
        own, *answers = (self.message_ids.get(key) for key in message_id_keys(account, thread))
        matches = sorted(self._matches(thread, contact, own, answers), key=_rank)
        real = [match for match in matches if match.conversation in existing]
        good = [
            match for match in real if not thread.doubt and self._is_participant(match, contact)
        ]
        explicit = [match for match in real if match.rule != BY_COMMON_ANCESTOR]
        stranger = bool(explicit) and not good
        flags = _flags(thread, explicit, stranger=stranger, existing=existing)
        own_rules = {BY_REPLY_ADDRESS, RULE_OF_KIND["issued"]}
        answers_own = (match.conversation for match in explicit if match.rule in own_rules)
        return ThreadMatch(
            next(iter(good), None),
            tuple(flags),
            next(answers_own, None),
            own.conversation if own is not None and own.kind == "issued" else None,
        )

    def _matches(
        self,
        thread: ThreadingHeaders,
        contact: UUID | None,
        own: KnownMessageId | None,
        answers: list[KnownMessageId | None],
    ) -> Iterator[ConversationMatch]:
        if thread.tag is not None:
            yield ConversationMatch(
                thread.tag, BY_REPLY_ADDRESS if thread.signed else BY_PLUS_TOKEN
            )
        mentioned = own if own is not None and own.kind == "mentioned" else None
        for message_id in (*answers, mentioned):
            # A mere mention proves nothing unless the same person mentions the id again.
            if message_id is not None and (
                message_id.kind != "mentioned" or message_id.contact == contact
            ):
                yield ConversationMatch(message_id.conversation, RULE_OF_KIND[message_id.kind])

    def _is_participant(self, match: ConversationMatch, contact: UUID | None) -> bool:
        return match.rule == BY_COMMON_ANCESTOR or (
            contact is not None and (match.conversation, contact) in self.participants
        )

    def add_received(
        self, account: str, thread: ThreadingHeaders, conversation: UUID, contact: UUID | None
    ) -> None:
        """Remember the message id of a received mail, and those it names."""
        own, *answers = message_id_keys(account, thread)
        previous = self.message_ids.get(own)
        if previous is None or previous.kind == "mentioned":
            self._put(own, KnownMessageId(conversation, "received", contact))
        for key in answers:
            if key not in self.message_ids:
                self._put(key, KnownMessageId(conversation, "mentioned", contact))

    def add_participants(self, conversation: UUID, contacts: Iterable[UUID]) -> None:
        """Remember the participants of a conversation: authors and recipients."""
        new = {(conversation, contact) for contact in contacts} - self.participants
        self.participants |= new
        self.new_participants |= new

    def add_mail(self, key: UUID, mail: DuplicateMail) -> None:
        """Remember the first arrival of a mail, so that later ones are known as duplicates."""
        if key not in self.mails:
            self.mails[key] = mail
            self.new_mails.add(key)

    def add_own_message(self, account: str, message: UUID, conversation: UUID) -> None:
        """Remember the message id of a message of ours."""
        key = message_id_key(account, str(message))
        self._put(key, KnownMessageId(conversation, "issued"))

    def _put(self, key: UUID, message_id: KnownMessageId) -> None:
        self.message_ids[key] = message_id
        self.new_message_ids.add(key)


def _rank(match: ConversationMatch) -> int:
    return RULE_ORDER.index(match.rule)


def _flags(
    thread: ThreadingHeaders,
    matches: list[ConversationMatch],
    *,
    stranger: bool,
    existing: Container[UUID],
) -> Iterator[str]:
    """Yield the doubts about the conversations a mail names."""
    by_message = {match.conversation for match in matches if match.rule in RULE_OF_KIND.values()}
    if thread.doubt is not None or stranger:
        yield thread.doubt or NOT_A_PARTICIPANT
    if thread.tag is not None and not thread.signed:
        yield UNSIGNED_REPLY_ADDRESS
    elif thread.tag is not None and thread.tag not in existing:
        yield UNKNOWN_REPLY_ADDRESS
    if thread.tag in existing and by_message - {thread.tag}:
        yield CONFLICTING_REPLY_ADDRESS
    if len(by_message) > 1:
        yield CONFLICTING_REFERENCES
