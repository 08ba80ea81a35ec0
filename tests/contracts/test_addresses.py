"""Spellings of one address have one canonical form; different addresses stay different."""

from __future__ import annotations

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline_contracts import contact_id, mail_address, phone_number

SAME = {
    "ann@example.test": (
        "Ann@Example.TEST", " ann@example.test\n", '"ann"@example.test', '"Ann"@example.test',
        r'"a\nn"@example.test', "ann@ｅｘａｍｐｌｅ.test", "ann@example。test",
    ),
    "a.b+tag@example.test": ("A.B+Tag@example.test", '"a.b+tag"@example.test'),
    '"a b"@example.test': ('"A B"@example.test', r'"a\ b"@example.test'),
    '"a@b"@example.test': ('"a@b"@Example.test',),
    r'"a\"b"@example.test': (r'"A\"B"@example.test',),
    "ann@xn--80aikifvh.test": ("ann@приклад.test", "Ann@ПРИКЛАД.test", "ann@XN--80AIKIFVH.test"),
    "ann@xn--fa-hia.test": ("ann@faß.test", "ann@FAß.test"),
    "ірина@xn--80aikifvh.test": ("Ірина@Приклад.test", '"ірина"@приклад.test'),
    "caf\u00e9@example.test": ("cafe\u0301@example.test",),
    "ann@[192.0.2.7]": ("Ann@[192.0.2.7]",),
    "nobody": ("Nobody ",),
    "": (" ",),
}  # fmt: skip

OTHERS = (
    ("ann@example.test", "ann+tag@example.test"), ("a.nn@example.test", "ann@example.test"),
    ("ann@fass.test", "ann@faß.test"), ("ann@example.test", "ann@ехample.test"),
    ('"a b"@example.test', "ab@example.test"), ("a@b@example.test", '"a@b"@example.test'),
    ("ann@x＠y.test", "ann@x@y.test"),
)  # fmt: skip


@pytest.mark.parametrize(("known", "written"), SAME.items(), ids=SAME)
def test_spellings_of_one_address_have_one_form(known: str, written: tuple[str, ...]) -> None:
    assert {mail_address(each) for each in (known, *written)} == {known}


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_different_addresses_stay_different(one: str, other: str) -> None:
    assert mail_address(one) != mail_address(other)


@pytest.mark.parametrize("domain", ["приклад", "faß", "σασ", "é", "例え", "straße", "бюро", "ไทย"])
def test_domain_is_written_in_ascii_as_idna_does(domain: str) -> None:
    assert mail_address(f"a@{domain}.test") == f"a@{idna.encode(domain).decode()}.test"


@given(st.text(max_size=20), st.text(max_size=20))
def test_canonical_form_is_stable(local: str, domain: str) -> None:
    known = mail_address(f"{local}@{domain}")

    assert mail_address(known) == known


def test_contact_id_is_the_same_for_all_spellings() -> None:
    known = contact_id("email", "main", "ann@example.test")

    for written in SAME["ann@example.test"]:
        assert contact_id("email", "main", written) == known
    assert contact_id("custom", "main", "Ann") != contact_id("custom", "main", "ann")


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("+38 (067) 111-22-33", "+380671112233"), ("+38\u2011067\u00a0111.22.33", "+380671112233"),
        ("067 111 22 33", "0671112233"), ("101", "101"), ("anonymous", "anonymous"),
        ("+38 067 ext. 5", "+38 067 ext. 5"), ("12", "12"), ("", ""),
    ],
)  # fmt: skip
def test_phone_number_drops_decoration(written: str, known: str) -> None:
    assert phone_number(written) == known
