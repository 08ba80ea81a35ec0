"""Contract facts and stored events have the same fields, so that they convert by name."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel

import trunkline_contracts as contracts
from tickets.conversion import from_fact
from tickets.domain import events as e
from tickets.domain.request import _CHANGES
from trunkline_contracts import tickets as facts
from trunkline_contracts.fact import ENVELOPE, Fact, wire_name

UNPRODUCED = {
    "contact_erased", "escalated", "linked", "merged", "offered", "rating_deleted",
    "rating_requested", "subtask_added", "subtask_changed", "transfer_requested", "unlinked",
}  # fmt: skip
"""Facts of the contract that tickets does not publish yet: they have no stored event."""

DECIDED = {"status", "origin", "by"}
"""Fields of an opening that tickets decides itself."""

IN_CONTRACT = {
    kind.name(): kind
    for kind in vars(facts).values()
    if isinstance(kind, type) and issubclass(kind, Fact) and "v1" in kind.name()
}


def of_contract(kind: type[BaseModel]) -> set[str]:
    """Return the wire names of the data of a fact or of a part."""
    if not issubclass(kind, Fact):
        return set(kind.model_fields)
    return {wire_name(name) for name in set(kind.model_fields) - ENVELOPE - kind.only_in_envelope}


def of_stored(kind: type[msgspec.Struct]) -> set[str]:
    return set(kind.__struct_encode_fields__)


def test_every_fact_has_a_stored_event_or_is_declared() -> None:
    unstored = {name.rpartition(".")[2] for name in IN_CONTRACT.keys() - e.EVENTS.keys()}

    assert (unstored, e.EVENTS.keys() - IN_CONTRACT.keys()) == (UNPRODUCED, set())


@pytest.mark.parametrize("name", sorted(e.EVENTS))
def test_stored_event_has_the_fields_of_its_fact(name: str) -> None:
    assert of_stored(e.EVENTS[name]) == of_contract(IN_CONTRACT[name])


@pytest.mark.parametrize(
    ("stored", "part"), [(e.Message, contracts.Message), (e.Contact, contracts.Contact)]
)
def test_stored_part_has_the_fields_of_its_part(
    stored: type[msgspec.Struct], part: type[BaseModel]
) -> None:
    assert of_stored(stored) == of_contract(part)


def test_facts_of_ingest_carry_all_that_is_stored() -> None:
    assert of_stored(e.Opened) - of_contract(contracts.RequestOpened) == DECIDED
    assert of_stored(e.ReactionChanged) == of_contract(contracts.MessageReacted) - {"request_id"}


def test_a_missing_or_extra_field_is_found() -> None:
    """The positive control: the comparison sees one field more or less."""

    class Shorter(msgspec.Struct):
        message: e.Message

    class Longer(e.MessageAdded, frozen=True):
        extra: str = ""

    fields = of_contract(contracts.MessageAdded)
    assert of_stored(Shorter) != fields
    assert of_stored(Longer) != fields


def test_a_conversion_keeps_every_value() -> None:
    part = contracts.Message(
        id=UUID(int=1), text="n", html="<p>", sent_at=datetime(2026, 3, 2, tzinfo=UTC),
        attachments=(contracts.Attachment(name="a.pdf", size=7),), external_id="1", reply_to="2",
        location=contracts.Location(latitude=50.45, longitude=30.52),
        contacts=(contracts.ContactCard(name="Bob"),), button="yes", quoted="q", flags=("odd",),
        no_auto_response="list", automatic="precedence", number=3,
    )  # fmt: skip

    stored = from_fact(e.Message, part)

    assert None not in part.model_dump().values(), "then a value is not tried"
    assert msgspec.json.decode(msgspec.json.encode(stored)) == part.model_dump(mode="json")


def test_a_conversion_requires_every_field() -> None:
    fact = contracts.MessageFailed(
        time=datetime(2026, 3, 2, tzinfo=UTC), request_id=UUID(int=7), message_id=UUID(int=8),
        reason="blocked",
    )  # fmt: skip

    with pytest.raises(msgspec.ValidationError, match="state"):
        from_fact(e.DeliveryRecorded, fact)
    converted = from_fact(e.DeliveryRecorded, fact, state="failed")
    assert (converted.message_id, converted.reason) == (UUID(int=8), "blocked")


def test_every_event_changes_a_request() -> None:
    assert {e.Opened, *_CHANGES} == set(e.EVENTS.values())
