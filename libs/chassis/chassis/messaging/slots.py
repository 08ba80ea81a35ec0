"""Slots: how a stream is shared, and the consumers that provisioning makes for its readers.

Provisioning and readers derive consumers from here, so that both mean the same one.
"""

from dataclasses import dataclass
from typing import Self

from trunkline_contracts.fact import SLOTS

SLOT_GROUPS = (1, 2, 4, 8, 16)
"""Into how many groups a stream's slots can be split evenly."""


def slot_groups(groups: int) -> list[tuple[int, ...]]:
    """Split the slots into groups that replicas can share."""
    width = SLOTS // groups
    return [tuple(range(start, start + width)) for start in range(0, SLOTS, width)]


def subject_of_slot(stream: str, slot: int) -> str:
    """Return the filter one slot of a stream travels under; type and key are the other tokens."""
    if stream == "INBOUND":
        return f"inbound.*.*.{slot:02d}.*"
    return f"trunkline.{stream.lower()}.*.*.{slot:02d}.*"


def filters(stream: str, subjects: str, slots: tuple[int, ...]) -> list[str]:
    """Return the subjects of some slots below `subjects`; none for all of the stream."""
    if len(slots) == SLOTS:
        return [f"{subjects}.>"] if subjects else []
    if subjects:
        return [f"{subjects}.{slot:02d}.*" for slot in slots]
    return [subject_of_slot(stream, slot) for slot in slots]


def groups_key(service: str) -> str:
    """Return the key of a stream's metadata that holds a service's numbers of slot groups."""
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
        """Derive the consumer of a reader."""
        return cls(service, reader, stream, slots, tuple(filters(stream, subjects, slots)))

    @property
    def name(self) -> str:
        """Its name on the server: one token of a subject."""
        return f"{self.service}-{self.reader}-{self.slots[0]:02d}-{self.slots[-1]:02d}"

    @property
    def groups(self) -> int:
        """Into how many groups the slots are split where it is used."""
        return SLOTS // len(self.slots)
