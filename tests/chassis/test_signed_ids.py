"""Tags: issued by whoever has the secret, for one purpose, and by nobody else."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.auth import signed_ids

ID = UUID("0b6cf1a4-58a2-4d0f-a5a2-4a0c13a3a0aa")


@given(st.uuids(), st.text(min_size=1, max_size=80))
def test_a_tag_is_read_as_it_was_written(id: UUID, secret: str) -> None:
    written = signed_ids.write(id, "thread", secret)
    for shown in (written, written.upper(), written.swapcase()):
        tag = signed_ids.read(shown)

        assert tag is not None
        assert tag.id == id
        assert tag.issued("thread", ["another", secret])
        assert not tag.issued("bounce", [secret])
        assert not tag.issued("thread", [f"{secret}!"])
        assert not tag.issued("thread", [])
    assert len(written) == 42


def test_a_tag_is_the_same_for_ever() -> None:
    assert signed_ids.write(ID, "thread", "s") == "bnwpdjcyujgq7jncjigbhi5avkqbwhj5pcyl4vl4jy"


def test_a_forged_tag_is_not_issued_here() -> None:
    good = signed_ids.write(ID, "thread", "s")
    for n in range(42):
        for letter in "az27":
            tag = signed_ids.read(good[:n] + letter + good[n + 1 :])
            same = tag is not None and tag == signed_ids.read(good)
            assert tag is None or tag.issued("thread", ["s"]) == same
    other = signed_ids.read(signed_ids.write(uuid4(), "thread", "s"))
    assert other is not None
    assert not signed_ids.SignedId(ID, other.mark).issued("thread", ["s"])


@pytest.mark.parametrize("text", ["", "a" * 41, "a" * 43, "0" * 42, "а" * 42, "a" * 41 + "\n"])
def test_what_has_not_the_form_is_no_tag(text: str) -> None:
    assert signed_ids.read(text) is None
