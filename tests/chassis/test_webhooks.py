"""Standard Webhooks: the reference library checks ours, we check its; nothing else gets through."""

import base64
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from chassis.auth.standard_webhooks import Unverified, key_of, sign, verify

OLD, NEW = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in (1, 2))
BODY = '{"id": "m-1", "text": "Де моє замовлення?"}'.encode()
NOW = 1_764_000_000


def test_the_vector_all_reference_libraries_share() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signed = sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_reference_library_takes_ours() -> None:
    signed = sign([OLD, NEW], "m-1", int(time.time()), BODY)

    for secret in (OLD, NEW):
        Webhook(secret).verify(BODY, signed)


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_we_take_the_reference_library_s(secret: str) -> None:
    at = datetime.fromtimestamp(NOW, UTC)
    headers = {
        "webhook-id": "m-1",
        "webhook-timestamp": str(NOW),
        "webhook-signature": Webhook(secret).sign("m-1", at, BODY.decode()),
    }
    verify([OLD, NEW], headers, BODY, NOW)

    with pytest.raises(Unverified):
        verify([], headers, BODY, NOW)
    with pytest.raises(Unverified):
        verify(["", "whsec_", "whsec_c2hvcnQ=", "plain"], headers, BODY, NOW)


@pytest.mark.parametrize(
    ("late", "good"),
    [(-300, True), (300, True), (300.9, True), (-301, False), (301, False), (1e6, False)],
)
def test_a_clock_may_be_five_minutes_off(late: float, good: bool) -> None:
    headers = sign([OLD], "m-1", NOW, BODY)
    if good:
        verify([OLD], headers, BODY, NOW + late)
    else:
        with pytest.raises(Unverified, match="300 s"):
            verify([OLD], headers, BODY, NOW + late)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "m-2"},
        {"webhook-id": "m.1"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": f"{NOW}.0"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "٣"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,ü"},
        {"webhook-signature": "v1a,AAAA v1,AAAA"},
    ],
)
def test_whatever_is_changed_is_noticed(change: dict[str, str]) -> None:
    headers = sign([OLD], "m-1", NOW, BODY)
    verify([OLD], headers, BODY, NOW)

    with pytest.raises(Unverified):
        verify([OLD], headers | change, BODY, NOW)
    with pytest.raises(Unverified):
        verify([OLD], headers, BODY + b" ", NOW)
    with pytest.raises(Unverified):
        verify([NEW], headers, BODY, NOW)


def test_bytes_that_are_no_text_can_be_signed() -> None:
    body = b"\xff\xfe"
    verify([OLD], sign([OLD], "m-1", NOW, body), body, NOW)


@pytest.mark.parametrize("bad", ["", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", OLD[6:]])
def test_a_secret_has_a_form(bad: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        key_of(bad)
