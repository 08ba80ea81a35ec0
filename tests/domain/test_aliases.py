"""People with two names on a platform: whichever is told, they are the one known before."""

from __future__ import annotations

from uuid import UUID, uuid5

import pytest

from ingest.intake.alias_store import Aliases

NUMBER, ID, OTHER = "380501112233", "UA.1", "UA.2"


def come(aliases: Aliases, *names: str) -> str:
    return aliases.home([(name, uuid5(UUID(int=0), name)) for name in names])


@pytest.mark.parametrize(
    ("told", "known"),
    [
        ([(NUMBER,), (ID, NUMBER), (ID,), (NUMBER,)], NUMBER),
        ([(NUMBER,), (NUMBER,)], NUMBER),
        ([(ID, NUMBER), (NUMBER,), (ID,), (ID, NUMBER)], ID),
        ([(ID,), (ID, NUMBER), (NUMBER,)], ID),
    ],
)
def test_somebody_stays_who_they_were(told: list[tuple[str, ...]], known: str) -> None:
    aliases = Aliases()

    assert [come(aliases, *names) for names in told] == [known] * len(told)


def test_a_number_with_another_id_is_another_persons() -> None:
    aliases = Aliases()
    for names in ((NUMBER,), (ID, NUMBER)):
        assert come(aliases, *names) == NUMBER

    assert come(aliases, OTHER, NUMBER) == OTHER
    assert come(aliases, NUMBER) == OTHER
    assert come(aliases, ID) == NUMBER


def test_who_never_told_the_number_is_not_confused_with_anybody() -> None:
    aliases = Aliases()

    assert [come(aliases, NUMBER), come(aliases, ID)] == [NUMBER, ID]
    assert aliases.learned == {}
