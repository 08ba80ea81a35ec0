"""Viber, ConnectiveOne's payload, calls and customers' devices on real servers: the way in."""

from __future__ import annotations

import hmac
import json
import time
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import uuid4

import jwt
import pytest
from proving import Device
from world import EXAMPLE

from chassis.auth.jwks import ALGORITHM
from chassis.auth.signing import MAX_DEVICE_TOKEN_LIFETIME, jwks, new_key, sign_for_device
from chassis.testing import eventually

if TYPE_CHECKING:
    import httpx
    from taking_in import Ingest
    from world import World

SECRETS = {
    "VIBER_MAIN_TOKEN": "viber-new",
    "VIBER_MAIN_OLD": "viber-old",
    "CUSTOM_ACME_TOKEN": "acme-new",
    "CUSTOM_ACME_OLD": "acme-old",
    "TELEPHONY_MAIN_SECRET": "calls-new",
    "TELEPHONY_MAIN_OLD": "calls-old",
}
MAPPING = (
    "{CallSid: call_id, CallStatus: event, From: from, To: to, RecordingUrl: recording,"
    " call.duration: duration}"
)
ROTATING = (
    EXAMPLE.read_text()
    .replace("token: env:VIBER_MAIN_TOKEN", "token: [env:VIBER_MAIN_TOKEN, env:VIBER_MAIN_OLD]")
    .replace("token: env:CUSTOM_ACME_TOKEN", "token: [env:CUSTOM_ACME_TOKEN, env:CUSTOM_ACME_OLD]")
    .replace(
        "secret: env:TELEPHONY_MAIN_SECRET",
        "secret: [env:TELEPHONY_MAIN_SECRET, env:TELEPHONY_MAIN_OLD],"
        f" field_mapping: {MAPPING}",
    )
)  # fmt: skip


@pytest.fixture
def workspace(world: World) -> str:
    """Every secret has two live versions."""
    world.environment |= SECRETS
    return ROTATING


# ------------------------------------------------------------------ Viber


def said(token: int, text: str = "Де моє замовлення?", **more: Any) -> dict[str, Any]:
    sender = {"id": "v-7==", "name": "Ірина", "language": "uk"}
    message = {"type": "text", "text": text}
    return {
        "event": "message", "timestamp": 1772442000000 + token, "message_token": token,
        "sender": sender, "message": message, **more,
    }  # fmt: skip


async def viber(ingest: Ingest, body: Any, token: str = "viber-new") -> httpx.Response:
    data = json.dumps(body).encode()
    signed = hmac.digest(token.encode(), data, sha256).hex()
    headers = {"X-Viber-Content-Signature": signed}
    return await ingest.http.post("/channels/viber/main", content=data, headers=headers)


async def test_viber(ingest: Ingest) -> None:
    """One message, one effect; either token signs; what is no message is noted."""
    first = await ingest.outcome(await viber(ingest, said(1)))
    again = await viber(ingest, {**said(1), "chat_hostname": "SN-2"}, "viber-old")
    second = await viber(ingest, said(2, "?"))
    seen = {"event": "seen", "timestamp": 1772442000009, "message_token": 9, "user_id": "v-7=="}
    noted = [
        await ingest.outcome(await viber(ingest, body))
        for body in (seen, {"event": "webhook", "timestamp": 1, "message_token": 3})
    ]
    foreign = await viber(ingest, said(4), "guessed")

    assert first["outcome"] == "opened"
    assert again.status_code == 200
    assert (await ingest.outcome(again))["outcome"] == "duplicate"
    assert (await ingest.outcome(second))["request_id"] == first["request_id"]
    assert [each["outcome"] for each in noted] == ["noted", "noted"]
    assert foreign.status_code == 401
    assert await ingest.stored() == 5
    (opened,) = await ingest.said("request_opened")
    assert opened["contact"]["name"] == "Ірина"
    assert opened["conversation"] == opened["contact"]["address"] == "v-7=="


# ------------------------------------------------------------------ ConnectiveOne


def update(number: int, text: str, **more: Any) -> dict[str, Any]:
    sender = {"id": "c-7", "first_name": "", "username": "iryna", "language_code": "uk"}
    message = {"from": sender, "chat": {"id": "c-7_viber"}, "date": 1772442000000 + number}
    return {"update_id": number, "message": {**message, "text": text, "type": "text", **more}}


async def hook(ingest: Ingest, body: Any, token: str | None = "acme-new", bot: str = "acme") -> Any:
    path = f"/messengers_host/{bot}/custom_channel/hooks"
    headers = {} if token is None else {"x-access-token": token}
    return await ingest.http.post(path, json=body, headers=headers)


async def test_connectiveone(ingest: Ingest) -> None:
    """`/start` asks nothing; the message after it opens; an update is taken once."""
    start = await ingest.outcome(await hook(ingest, update(1, "/start")))
    first = await ingest.outcome(await hook(ingest, update(2, "Де моє замовлення?"), "acme-old"))
    again = await ingest.outcome(await hook(ingest, update(2, "Де моє замовлення?")))
    second = await ingest.outcome(await hook(ingest, update(3, "?")))
    refused = [
        await hook(ingest, update(4, "x"), None),
        await hook(ingest, update(4, "x"), "acme"),
        await hook(ingest, update(4, "x"), bot="nobody"),
        await hook(ingest, {"update_id": None}),
        await hook(ingest, {"update_id": 5, "message": {"text": "whose?"}}),
    ]

    assert (start["outcome"], start["request_id"]) == ("noted", None)
    assert first["outcome"] == "opened"
    assert (again["outcome"], again["request_id"]) == ("duplicate", first["request_id"])
    assert (second["outcome"], second["request_id"]) == ("appended", first["request_id"])
    assert [answer.status_code for answer in refused] == [401, 401, 401, 422, 422]
    assert await ingest.stored() == 4
    (opened,) = await ingest.said("request_opened")
    assert (opened["channel"], opened["account"]) == ("custom", "acme")
    assert (opened["conversation"], opened["contact"]["address"]) == ("c-7_viber", "c-7")


async def test_connectiveone_is_taken_in_as_it_was_let_in(ingest: Ingest) -> None:
    """Whatever else stands in the update, and however it is written."""
    bodies = [
        json.dumps({**update(1, "one"), "contact": {"id": "c-7"}}).encode(),
        json.dumps(update(2, "two")).replace("update_id", "update\\u005fid").encode(),
        json.dumps(update(3, "three")).encode("utf-16"),
        json.dumps(update(4, "four"))
        .replace("{", '{"deep":' + "[" * 900 + "]" * 900 + ",", 1)
        .encode(),
    ]
    path, headers = "/messengers_host/acme/custom_channel/hooks", {"x-access-token": "acme-new"}
    told = [
        await ingest.outcome(await ingest.http.post(path, content=body, headers=headers))
        for body in bodies
    ]
    deep = await ingest.http.post(path, content=b'{"a":' * 10_000, headers=headers)

    assert [each["outcome"] for each in told] == ["opened", "appended", "appended", "appended"]
    assert deep.status_code == 422


# ------------------------------------------------------------------ telephony


async def call(ingest: Ingest, event: str, *, form: bool = True, **more: str) -> httpx.Response:
    body = {"CallSid": "CA17", "CallStatus": event, "To": "0800300300", **more}
    headers = {"X-Trunkline-Secret": "calls-new"}
    path = "/channels/telephony/main"
    if form:
        return await ingest.http.post(path, data=body, headers=headers)
    return await ingest.http.post(path, json=body, headers=headers)


async def test_a_call_is_one_chat(ingest: Ingest) -> None:
    """Every event of it is an entry there, once; the recording is attached."""
    url = "https://calls.example.test/CA17"
    ringing = await ingest.outcome(await call(ingest, "ringing", From="+380 50 111 22 33"))
    steps = [
        await ingest.outcome(each)
        for each in (
            await call(ingest, "in-progress"),
            await call(ingest, "completed", **{"call.duration": "65"}),
            await call(ingest, "completed", form=False, **{"call.duration": "65"}),
            await call(ingest, "recording", RecordingUrl=url),
            await call(ingest, "transcript", transcript="Де моє замовлення?"),
        )
    ]

    assert ringing["outcome"] == "opened"
    assert {each["request_id"] for each in steps} == {ringing["request_id"]}
    words = ["appended", "appended", "duplicate", "appended", "appended"]
    assert [each["outcome"] for each in steps] == words
    (opened,) = await ingest.said("request_opened")
    assert (opened["conversation"], opened["title"]) == ("CA17", "Call: +380501112233")
    assert opened["contact"]["address"] == "+380501112233"
    received = [each["message"] for each in await ingest.said("message_received")]
    assert [each["text"] for each in received] == [
        "[call answered]",
        "[call ended] after 1 min 5 s",
        "[call recording]",
        "[call transcript]\nДе моє замовлення?",
    ]
    assert received[2]["attachments"][0]["url"] == url
    assert await ingest.world.sql("ingest", "SELECT address FROM contact") == [("+380501112233",)]


async def test_what_comes_of_a_rejected_call_is_rejected(ingest: Ingest) -> None:
    """Who calls is said once; whoever takes the recording in knows it all the same."""
    ban = "/v1/bans/%2B38 050 111-22-33"
    assert (await ingest.http.put(ban, headers=ingest.boss)).json()["contact"] == "+380501112233"
    ringing = await ingest.outcome(await call(ingest, "ringing", From="+380 50 111 22 33"))
    assert (ringing["outcome"], ringing["reason"]) == ("rejected", "banned")

    await ingest.stop()
    await ingest.start()
    other = await call(ingest, "recording", CallSid="CA18")
    outcomes = [await ingest.outcome(each) for each in (await call(ingest, "recording"), other)]
    assert [each["outcome"] for each in outcomes] == ["rejected", "opened"]

    assert (await ingest.http.delete(ban, headers=ingest.boss)).status_code == 204
    later = await ingest.outcome(await call(ingest, "transcript", transcript="Я тут"))
    assert later["outcome"] == "opened"
    told = {each["conversation"]: each["contact"] for each in await ingest.said("request_opened")}
    assert told["CA17"]["address"] == "+380501112233"
    assert (await ingest.ledger())["balanced"]


async def test_provider_without_headers_sends_token_in_query(
    ingest: Ingest,
) -> None:
    path, body = "/channels/telephony/main", urlencode({"CallSid": "1", "CallStatus": "ringing"})

    async def post(query: str, header: str | None = None) -> int:
        headers = {} if header is None else {"X-Trunkline-Secret": header}
        answer = await ingest.http.post(f"{path}?{query}", content=body, headers=headers)
        return answer.status_code

    assert await post("token=calls-old") == 200
    assert await post("token=calls-old", "calls-new") == 401
    assert await post("token=calls-new&token=calls-new") == 401
    assert await post("token=calls") == 401
    assert await post("token=") == 401
    assert await post("") == 401
    assert await ingest.stored() == 1


# ------------------------------------------------------------------ devices


class App:
    """A company's mobile app on one customer's phone."""

    def __init__(self, ingest: Ingest, contact: str = "c-7", account: str = "shop") -> None:
        self.ingest, self.device = ingest, Device()
        self.contact, self.account = contact, account
        self.token = self.issued()

    def issued(self, key: str | None = None, ttl: timedelta = MAX_DEVICE_TOKEN_LIFETIME) -> str:
        """A token as the company's own server gives it."""
        key = key or self.ingest.world.key
        return sign_for_device(key, self.account, self.contact, self.device.thumbprint, ttl)

    def forged(self, **claims: Any) -> str:
        """A token that says something else."""
        told = jwt.decode(self.token, options={"verify_signature": False}) | claims
        kept = {name: value for name, value in told.items() if value is not None}
        return jwt.encode(kept, self.ingest.world.key, ALGORITHM)

    async def post(
        self, body: Any = None, *, token: str | None = None, proof: str | None = None,
        key: str | None = None, scheme: str = "DPoP",
    ) -> httpx.Response:  # fmt: skip
        token = token or self.token
        proof = self.device.proof(token) if proof is None else proof
        headers = {"Authorization": f"{scheme} {token}"} | ({"DPoP": proof} if proof else {})
        headers |= {"Idempotency-Key": key} if key else {}
        body = {"text": "Де моє замовлення?"} if body is None else body
        return await self.ingest.http.post("/v1/requests", json=body, headers=headers)


async def test_a_device_writes_as_its_contact_and_as_nobody_else(ingest: Ingest) -> None:
    mine, other, bold = App(ingest), App(ingest, "c-8"), App(ingest, "c-9")
    talk = {"text": "Де моє замовлення?", "conversation": "main"}

    first = await ingest.outcome(await mine.post(talk, key="1"))
    again = await ingest.outcome(await mine.post(talk, key="1"))
    more = await ingest.outcome(await mine.post({**talk, "text": "?"}, key="2"))
    theirs = await ingest.outcome(await other.post(talk, key="1"))
    same = {**talk, "contact": {"id": "c-7", "name": "Ірина", "language": "uk"}}
    named = await mine.post(same)
    wrong = [
        await bold.post({**talk, "contact": {"id": "c-8"}}),
        await bold.post({**talk, "contact": {"email": "c8@example.test"}}),
        await bold.post({**talk, "priority": "critical"}),
        await bold.post({**talk, "type": "ticket"}),
    ]

    assert first["outcome"] == "opened"
    assert (again["outcome"], again["request_id"]) == ("duplicate", first["request_id"])
    assert (more["outcome"], more["request_id"]) == ("appended", first["request_id"])
    assert (theirs["outcome"], theirs["request_id"] == first["request_id"]) == ("opened", False)
    assert named.status_code == 202
    assert [answer.status_code for answer in wrong] == [422, 422, 422, 422]
    opened = await ingest.said("request_opened")
    told = [(each["channel"], each["account"], each["contact"]["address"]) for each in opened]
    assert told == [("api", "shop", "c-7"), ("api", "shop", "c-8")]


async def test_a_proof_shown_again_is_the_same_submission(ingest: Ingest) -> None:
    app = App(ingest)
    proof = app.device.proof(app.token)

    first = await ingest.outcome(await app.post(proof=proof))
    again = await ingest.outcome(await app.post(proof=proof))
    abused = await ingest.outcome(await app.post({"text": "something else"}, proof=proof))

    assert first["outcome"] == "opened"
    assert (again["outcome"], again["request_id"]) == ("duplicate", first["request_id"])
    assert abused["outcome"] == "rejected"


async def test_a_token_without_its_key_opens_nothing(ingest: Ingest) -> None:
    app, thief, now = App(ingest), Device(), time.time()
    boss = ingest.boss["Authorization"].removeprefix("Bearer ")
    stranger = app.issued(new_key()[0])
    refused = {
        "by another device": {"proof": thief.proof(app.token)},
        "without a proof": {"proof": ""},
        "with the proof of another token": {"proof": app.device.proof(app.issued() + "x")},
        "of an old proof": {"proof": app.device.proof(app.token, iat=now - 400)},
        "of another request": {"proof": app.device.proof(app.token, htu="https://x.test/v1/bans")},
        "as a bearer": {"scheme": "Bearer"},
        "as nothing": {"token": "x.y.z"},
        "a person's token": {"token": boss},
        "of a stranger's key": {"token": stranger},
        **{
            f"with {claims}": {"token": app.forged(**claims)}
            for claims in (
                {"aud": None}, {"aud": "trunkline"}, {"cnf": None}, {"cnf": {}}, {"cnf": "x"},
                {"client_id": None}, {"client_id": "a b"}, {"sub": "a b"}, {"iat": None},
                {"exp": now - 1}, {"exp": now + 1000}, {"iat": now + 400}, {"nbf": now + 400},
                {"iat": now - 3600, "exp": now + 600},
            )
        },
    }  # fmt: skip

    for how, shown in refused.items():
        answer = await app.post(**shown)
        assert answer.status_code == 401, how
        assert answer.headers["WWW-Authenticate"].startswith(("DPoP ", "Bearer ")), how
    assert await ingest.stored() == 0
    assert (await app.post()).status_code == 202
    assert await ingest.stored() == 1
    looked = await ingest.http.get(f"/v1/inbound/{uuid4()}", headers=bearer(app.token))
    assert looked.status_code == 401


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_two_issuer_keys_are_valid_during_rotation(ingest: Ingest) -> None:
    later, _ = new_key()
    ingest.world.jwks.write_text(jwks(ingest.world.key, later))
    app = App(ingest)

    assert (await app.post(token=app.issued(later))).status_code == 202
    assert (await app.post()).status_code == 202


async def test_one_device_does_not_use_up_what_its_account_may_send(ingest: Ingest) -> None:
    eager, other = App(ingest), App(ingest, "c-8")

    async def too_many() -> httpx.Response | None:
        answer = await eager.post()
        return answer if answer.status_code == 429 else None

    refused = await eventually(too_many)

    assert refused is not None
    assert int(refused.headers["Retry-After"]) >= 1
    assert (await other.post()).status_code == 202
