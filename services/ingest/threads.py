"""Which conversation a message belongs to, where messages are named and conversations are not.

Every message id seen is remembered with its conversation: those of our replies, those of messages
that came, and those that were only mentioned. A subject is never looked at.
"""

from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID, uuid5

from ingest.adapters.item import Thread
from trunkline_contracts.fact import NAMESPACE

Kind = Literal["issued", "received", "mentioned"]

RULES: dict[Kind, str] = {
    "issued": "our_message_id",
    "received": "known_message_id",
    "mentioned": "common_ancestor",
}
"""The rules, the strongest first, as `threaded_by` names them."""


@dataclass(frozen=True, slots=True)
class Named:
    """A message id that is known, and where it belongs."""

    conversation: UUID
    kind: Kind
    contact: UUID | None = None

    @property
    def rule(self) -> str:
        """The rule by which a message that names it belongs there."""
        return RULES[self.kind]


def key_of(account: str, id: str) -> UUID:
    """Give the key of a message id in one mailbox."""
    return uuid5(NAMESPACE, f"named\n{account}\n{_own(id) or id}")


def _own(id: str) -> UUID | None:
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
    """The ids at hand, and those that are new."""

    known: dict[UUID, Named] = field(default_factory=dict)
    learnt: set[UUID] = field(default_factory=set)

    def find(self, account: str, thread: Thread, contact: UUID | None) -> tuple[Named | None, bool]:
        """Say where a message belongs, and whether what it names belongs to more than one."""
        own, *answers = (self.known.get(key) for key in keys_of(account, thread))
        named = [each for each in answers if each is not None]
        if own is not None and own.kind == "mentioned":
            named.append(own)
        found: Named | None = None
        for kind in RULES:
            fitting = (each for each in named if each.kind == kind and _heard(each, contact))
            found = found or next(fitting, None)
        several = {each.conversation for each in named if each.kind != "mentioned"}
        return found, len(several) > 1

    def learn(self, account: str, thread: Thread, conversation: UUID, contact: UUID | None) -> None:
        """Remember a message that came, and those it names."""
        own, *answers = keys_of(account, thread)
        before = self.known.get(own)
        if before is None or before.kind == "mentioned":
            self._put(own, Named(conversation, "received", contact))
        for key in answers:
            if key not in self.known:
                self._put(key, Named(conversation, "mentioned", contact))

    def issue(self, account: str, message: UUID, conversation: UUID) -> None:
        """Remember a message of ours."""
        self._put(key_of(account, str(message)), Named(conversation, "issued"))

    def _put(self, key: UUID, named: Named) -> None:
        self.known[key] = named
        self.learnt.add(key)


def _heard(named: Named, contact: UUID | None) -> bool:
    """What was only mentioned proves nothing unless the same person mentions it again."""
    return named.kind != "mentioned" or named.contact == contact
