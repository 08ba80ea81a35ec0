"""What clients ask of a request: every kind of field, what is missing, and that nothing is lost."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.domain.field_rules import Rules, known
from ingest.domain.fields import FieldRule
from ingest.domain.intake_batch import Arrival, Book
from ingest.domain.items import Asked, Item, Person
from ingest.domain.languages import language_of
from ingest.intake.store import _item_row
from trunkline_contracts import RequestOpened

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
FIELDS = {
    "order_no": FieldRule("text", pattern="[0-9]{6}"),
    "about": FieldRule("text"),
    "amount": FieldRule("number", min=0, max=1000.5),
    "any": FieldRule("number"),
    "due": FieldRule("date"),
    "cause": FieldRule("list", options=("printer", "other")),
}
RULES = Rules(
    "chat",
    "general",
    frozenset({"chat", "ticket"}),
    frozenset({"low", "high"}),
    {
        "general": {},
        "billing": dict.fromkeys(FIELDS, False),
        "order": {"order_no": True, "amount": True},
    },
    FIELDS,
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
sensible = (
    st.from_regex("[0-9]{5,7}", fullmatch=True)
    | st.integers(-5, 1005)
    | st.floats(-5, 1005)
    | st.dates().map(date.isoformat)
    | st.sampled_from(["printer", "other", "2026-02-30", "20260302", "١٢٣٤٥٦", "123456\n", ""])
)
anything = st.recursive(
    scalars | sensible,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


class TestKinds:
    @pytest.mark.parametrize(
        ("name", "value", "wrong"),
        [
            ("order_no", "123456", None),
            ("order_no", "12345", "must match"),
            ("order_no", "x123456x", "must match"),
            ("order_no", "123456\n", "must match"),
            ("order_no", 123456, "must be a text"),
            ("order_no", ["123456"], "must be a text"),
            ("about", "ї" * 2000, None),
            ("about", "x" * 2001, "at most 2000 characters"),
            ("amount", 0, None),
            ("amount", 1000.5, None),
            ("amount", -0.01, "at least 0"),
            ("amount", 1000.6, "at most 1000.5"),
            ("amount", "5", "must be a number"),
            ("amount", True, "must be a number"),
            ("any", -1e18, None),
            ("any", float("nan"), "a number of at most"),
            ("any", float("inf"), "a number of at most"),
            ("any", 10**400, "a number of at most"),
            ("due", "2026-02-28", None),
            ("due", "2026-02-30", "must be a date"),
            ("due", "20260228", "must be a date"),
            ("due", "2026-W09-6", "must be a date"),
            ("due", "2026-02-28T10:00:00Z", "must be a date"),
            ("due", "٢٠٢٦-٠٢-٢٨", "must be a date"),
            ("due", 5, "must be a date"),
            ("cause", "printer", None),
            ("cause", "Printer", "must be one of printer, other"),
            ("cause", ["printer"], "must be one of"),
            ("unknown", 1, "not a field of this topic"),
        ],
    )
    def test_a_value(self, name: str, value: Any, wrong: str | None) -> None:
        found = RULES.complaints(Asked("billing", fields={name: value}))

        if wrong is None:
            assert found == []
            kept, flags = RULES.obeyed(Asked("billing", fields={name: value}))
            assert (kept.fields, flags) == ({name: value}, [])
        else:
            ((where, offending, why),) = found
            assert (where, offending) == (f"fields.{name}", value)
            assert wrong in why

    @pytest.mark.parametrize(
        ("name", "typed", "value"),
        [
            ("amount", " 12.5 ", 12.5), ("amount", "12", 12), ("any", "-0", 0),
            ("cause", " printer ", "printer"), ("due", "2026-03-02 ", "2026-03-02"),
            ("about", " as it is ", " as it is "),
        ],
    )  # fmt: skip
    def test_what_a_person_typed_is_read(self, name: str, typed: str, value: Any) -> None:
        kept, flags = RULES.obeyed(Asked("billing", fields={name: typed}, typed=True))

        assert (dict(kept.fields), flags) == ({name: value}, [])

    @pytest.mark.parametrize("typed", ["1e3", "0x1", "1,5", "1 000", "--1", "1.", "٥", "9" * 26])
    def test_what_spells_no_number_is_flagged(self, typed: str) -> None:
        kept, (flag,) = RULES.obeyed(Asked("billing", fields={"any": typed}, typed=True))

        assert (kept.fields, "must be a number" in flag) == ({}, True)

    def test_no_pattern_takes_long(self) -> None:
        """What a backtracking engine would not finish in this universe's time."""
        rule = FieldRule("text", pattern="(a+)+b")
        began = time.perf_counter()

        assert rule.complaint("a" * 2000) is not None
        assert rule.complaint("a" * 1999 + "b") is None
        assert time.perf_counter() - began < 1

    def test_digits_and_letters_of_patterns_are_those_of_json_schema(self) -> None:
        for pattern, good, bad in (
            (r"\d{3}", "123", "١٢٣"),
            (r"[\d-]{3}", "1-2", "１-２"),
            (r"\w+", "a_1", "є"),
            (r"\D", "є", "1"),
            (r"[^\W]", "x", "-"),
            (r"\\d", r"\d", "1"),
        ):
            rule = FieldRule("text", pattern=pattern)
            assert rule.complaint(good) is None
            assert rule.complaint(bad) == f"must match {pattern}"

    def test_a_pattern_the_engine_does_not_know_fits_nothing_and_fails_nothing(self) -> None:
        assert FieldRule("text", pattern="(?=a)a").complaint("a") == "must match (?=a)a"

    @pytest.mark.parametrize("rule", FIELDS.values(), ids=list(FIELDS))
    @given(value=sensible | scalars)
    def test_the_schema_says_what_the_rule_says(self, rule: FieldRule, value: Any) -> None:
        checker = jsonschema.Draft202012Validator(
            rule.schema(), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
        )
        if isinstance(value, float | int) and not abs(value) < 2**63:
            return  # JSON knows no such numbers, or no limit to them
        fits = checker.is_valid(value)
        if fits and rule.pattern and isinstance(value, str) and value.endswith("\n"):
            return  # Python's `$` stands before a last line's end, the standard's does not

        assert fits is (rule.complaint(value) is None)


class TestWishes:
    def test_what_is_required_and_missing_is_told(self) -> None:
        kept, flags = RULES.obeyed(Asked("order", fields={"order_no": "123456", "amount": " "}))

        assert dict(kept.fields) == {"order_no": "123456"}
        assert flags == ["fields.amount is missing: topic order requires it"]

    def test_what_is_required_and_wrong_is_told_once(self) -> None:
        _, flags = RULES.obeyed(Asked("order", fields={"order_no": "1", "amount": 5}))

        assert flags == ["fields.order_no must match [0-9]{6}"]

    def test_a_further_message_need_not_be_whole(self) -> None:
        assert RULES.complaints(Asked("order"), whole=False) == []
        assert len(RULES.complaints(Asked("order"))) == 2

    def test_channels_that_ask_nothing_are_told_what_is_missing(self) -> None:
        strict = Rules("chat", "order", RULES.types, RULES.priorities, RULES.topics, FIELDS)

        assert len(strict.obeyed(None)[1]) == 2
        assert RULES.obeyed(None) == (Asked(), [])

    def test_fields_of_an_unknown_topic_are_those_of_the_default_one(self) -> None:
        rules = Rules("chat", "billing", RULES.types, RULES.priorities, RULES.topics, FIELDS)
        kept, flags = rules.obeyed(Asked("ghost", fields={"amount": 5}))

        assert (kept.topic, dict(kept.fields)) == (None, {"amount": 5})
        assert flags == ["topic must be one of billing, general, order"]

    @pytest.mark.parametrize("value", [5, [], {}, True, "ghost", "\x00"])
    @pytest.mark.parametrize("name", ["type", "topic", "priority"])
    def test_a_wish_of_any_form_is_left_out_and_told(self, name: str, value: Any) -> None:
        kept, (flag,) = RULES.obeyed(Asked(**{name: value}))

        assert (getattr(kept, name), flag.split()[0]) == (None, name)

    def test_a_title_is_cut_and_an_empty_one_is_none(self) -> None:
        assert RULES.obeyed(Asked(title=" \x00x" + "y" * 300))[0].title == "\ufffdx" + "y" * 252
        assert RULES.obeyed(Asked(title=" \n"))[0].title is None

    def test_flags_are_few_and_short(self) -> None:
        _, flags = RULES.obeyed(Asked("billing", fields={f"{'n' * 500}{i}": i for i in range(50)}))

        assert len(flags) == 21
        assert flags[-1] == "and 30 more"
        assert max(map(len, flags)) <= 200


class TestLanguages:
    @pytest.mark.parametrize(
        ("told", "tag"),
        [
            ("uk", "uk"), ("UK", "uk"), ("pt_br", "pt-BR"), ("zh-hans-cn", "zh-Hans-CN"),
            ("iw", "he"), ("crh", "crh"), (" en ", "en"), ("es-419", "es-419"),
            ("xx", None), ("", None), ("english", None), ("e", None), ("uk-", None), ("їж", None),
            ("en\x00", None), ("en-" + "x" * 9, None),
        ],
    )  # fmt: skip
    def test_a_language(self, told: str, tag: str | None) -> None:
        assert language_of(told) == tag

    def test_an_unknown_one_is_flagged_and_the_person_stays(self) -> None:
        person, (flag,) = known(Person("7", "Ann", "klingon"))

        assert person == Person("7", "Ann")
        assert flag.startswith("language")
        assert known(Person("7")) == (Person("7"), [])


@given(
    topic=st.none() | st.sampled_from(["general", "billing", "order", "ghost", 5, ["order"]]),
    title=st.none() | st.text(),
    type=st.none() | st.sampled_from(["chat", "ghost", {}, 1.5]),
    priority=st.none() | st.sampled_from(["low", "ghost", False]),
    language=st.none() | st.text(max_size=10) | st.sampled_from(["uk", "xx", "en-GB"]),
    fields=st.dictionaries(st.sampled_from([*FIELDS, "ghost"]) | st.text(), anything, max_size=6),
    typed=st.booleans(),
    text=st.text(),
)  # fmt: skip
def test_no_combination_of_wishes_loses_the_message(
    text: str, language: Any, **wishes: Any
) -> None:
    """It opens, says why what is not as asked is not, and every row and fact can be written."""
    asked = Asked(**wishes)
    person = Person("7", "Ann", language)
    item = Item(
        "message", "1", "digest", "new", conversation="7", person=person, text=text, asked=asked
    )
    desk = Book(RULES, NOW)

    desk.take_in([Arrival(str(uuid4()), 0, "form", "main", NOW, item)])

    (outcome,) = desk.outcomes
    (opened,) = (fact for fact, _ in desk.facts if isinstance(fact, RequestOpened))
    assert (outcome.word, opened.message.text) == ("opened", text)
    wrong = RULES.complaints(asked)
    assert bool(outcome.reason) is bool(wrong or (language and not language_of(language)))
    assert opened.topic in RULES.topics
    assert opened.priority in {None, *RULES.priorities}
    assert opened.request_type in RULES.types
    for name, value in opened.fields.items():
        assert name in RULES.topics[opened.topic]
        assert FIELDS[name].complaint(value) is None
    row = orjson.dumps([_item_row(outcome)]).decode()
    assert "\\u0000" not in row
    assert "\x00" not in opened.model_dump_json(exclude={"message"}, fallback=str)
