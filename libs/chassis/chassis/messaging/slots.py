"""Slots, by which replicas share a stream, and the consumers of slot groups.

Both provisioning and readers derive consumers from here, so their names and filters agree.
"""

from dataclasses import dataclass
from typing import Self

from trunkline_contracts.fact import SLOTS

SLOT_GROUPS = (1, 2, 4, 8, 16)
"""The allowed numbers of slot groups of a stream."""


def slot_groups(groups: int) -> list[tuple[int, ...]]:
    """Split the slots into groups that replicas can share."""
    width = SLOTS // groups
    return [tuple(range(start, start + width)) for start in range(0, SLOTS, width)]


def subject_of_slot(stream: str, slot: int) -> str:
    """Return the subject filter of one slot of a stream, with wildcards for type and key."""
    if stream == "INBOUND":
        return f"inbound.*.*.{slot:02d}.*"
    return f"trunkline.{stream.lower()}.*.*.{slot:02d}.*"


def filters(stream: str, subjects: str, slots: tuple[int, ...]) -> list[str]:
    """Return the subject filters of slots below the prefix `subjects`; empty for a whole stream."""
    if len(slots) == SLOTS:
        return [f"{subjects}.>"] if subjects else []
    if subjects:
        return [f"{subjects}.{slot:02d}.*" for slot in slots]
    return [subject_of_slot(stream, slot) for slot in slots]


def groups_key(service: str) -> str:
    """Return the stream metadata key that holds the numbers of a service's slot groups."""
    return f"trunkline.readers.{service}"


@dataclass(frozen=True)
class Consumer:
    """The provisioned consumer of one slot group of one reader."""

    service: str
    reader: str
    stream: str
    slots: tuple[int, ...]
    filters: tuple[str, ...]

    @classmethod
    def of(
        cls, service: str, reader: str, stream: str, subjects: str, slots: tuple[int, ...]
    ) -> Self:
        """Return the consumer of a slot group of a reader."""
        return cls(service, reader, stream, slots, tuple(filters(stream, subjects, slots)))

    @property
    def name(self) -> str:
        """The name on the server: one token of a subject."""
        return f"{self.service}-{self.reader}-{self.slots[0]:02d}-{self.slots[-1]:02d}"

    @property
    def groups(self) -> int:
        """The number of slot groups this consumer belongs to."""
        return SLOTS // len(self.slots)
