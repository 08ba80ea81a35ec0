"""Forms and the web widget on real servers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from world import EXAMPLE

from chassis.testing import eventually
from ingest.gateway import web_sessions

if TYPE_CHECKING:
    import httpx
    from taking_in import Ingest
    from world import World

SHOP, ELSEWHERE = "https://shop.example.test", "https://evil.example.test"
SECRETS = {
    "FORM_MAIN_SECRET": "form-new",
    "FORM_MAIN_OLD": "form-old",
    "WIDGET_MAIN_SECRET": "widget-new",
    "WIDGET_MAIN_OLD": "widget-old",
}
ROTATING = EXAMPLE.read_text()
for name in ("FORM_MAIN", "WIDGET_MAIN"):
    both = f"secret: [env:{name}_SECRET, env:{name}_OLD]"
    ROTATING = ROTATING.replace(f"secret: env:{name}_SECRET", both)


@pytest.fixture
def workspace(world: World) -> str:
    """Return a workspace whose accounts have two secrets in force."""
    world.environment |= SECRETS
    return ROTATING


async def form(ingest: Ingest, body: Any, token: str = "form-new", **more: str) -> httpx.Response:
    headers = {"X-Form-Token": token, **more}
    return await ingest.http.post("/channels/form/main", json=body, headers=headers)


async def session(ingest: Ingest, origin: str = SHOP, token: str | None = None) -> httpx.Response:
    shown = {} if token is None else {"Authorization": f"Bearer {token}"}
    headers = {"Origin": origin, **shown}
    return await ingest.http.post("/channels/widget/main/session", headers=headers)


async def write(ingest: Ingest, token: str, body: Any, origin: str = SHOP) -> httpx.Response:
    headers = {"Origin": origin, "Authorization": f"Bearer {token}"}
    return await ingest.http.post("/channels/widget/main", json=body, headers=headers)


async def test_form_opens_a_request_unless_it_names_a_conversation(ingest: Ingest) -> None:
    asked = {
        "text": "Where is it?",
        "topic": "delivery",
        "fields": {"order_no": "123456"},
        "contact": {"name": "Ann", "email": "ann@example.test"},
    }
    first = await form(ingest, asked)
    one = await ingest.outcome(first)
    two = await ingest.outcome(await form(ingest, asked, "form-old"))
    again = {"text": "And?", "conversation": first.json()["inbound_id"]}
    more = await ingest.outcome(await form(ingest, again))

    assert (one["outcome"], two["outcome"], more["outcome"]) == ("opened", "opened", "appended")
    assert one["request_id"] != two["request_id"]
    assert more["request_id"] == one["request_id"]
    opened = (await ingest.said("request_opened"))[0]
    assert (opened["topic"], opened["fields"]) == ("delivery", {"order_no": "123456"})
    assert opened["contact"]["name"] == "Ann"


async def test_urlencoded_form_opens_a_request(ingest: Ingest) -> None:
    answer = await ingest.http.post(
        "/channels/form/main?token=form-new",
        data={"text": "Hello", "contact.email": "bo@example.test", "fields.order_no": "12"},
    )
    told = await ingest.outcome(answer)

    assert told["outcome"] == "opened"
    assert "order_no" in told["reason"]  # it does not fit, so it is left out; the message is not


async def test_form_with_invalid_values_is_flagged(ingest: Ingest) -> None:
    asked = {"text": "Hello", "title": ["x"], "fields": {"order_no": "12"}}
    told = await ingest.outcome(await form(ingest, asked))

    (opened,) = await ingest.said("request_opened")
    flags = opened["message"]["flags"]
    assert flags[0] == "title must be a text"
    assert "order_no" in flags[1]
    assert told["reason"] == "; ".join(flags)


@pytest.mark.parametrize("odd", ["\x01", "\x00", '"'], ids=["control", "NUL", "quote"])
async def test_longest_form_delays_no_other_delivery(ingest: Ingest, odd: str) -> None:
    """Its facts are published, and so are those of the next delivery."""
    kind = "application/x-www-form-urlencoded"
    answer = await ingest.http.post(
        "/channels/form/main?token=form-new",
        content=f"text={odd * 262_000}",
        headers={"Content-Type": kind},
    )
    told = await ingest.outcome(answer)
    later = await ingest.outcome(await form(ingest, {"text": "Hello"}))

    assert (told["outcome"], later["outcome"]) == ("opened", "opened")
    relay = ingest.apps[0].state.service.relay

    async def relayed() -> bool:
        assert relay.position == 2, relay.alarm
        return True

    await eventually(relayed)
    first = (await ingest.said("request_opened"))[0]["message"]
    assert len(first["text"]) <= 100_000
    if odd != "\x01":
        assert first["flags"] == ["text may have 100000 characters"]


async def test_form_with_the_hidden_field_filled_is_rejected(ingest: Ingest) -> None:
    told = await ingest.outcome(await form(ingest, {"text": "Buy!", "website": "http://x.test"}))

    assert (told["outcome"], "machine" in told["reason"]) == ("rejected", True)


async def test_form_schema_has_the_fields_of_its_topic(ingest: Ingest) -> None:
    whole = (await ingest.http.get("/channels/form/main")).json()
    one = (await ingest.http.get("/channels/form/main?topic=billing")).json()

    assert set(whole["properties"]["topic"]["enum"]) == {"general", "delivery", "billing"}
    assert set(one["properties"]["fields"]["properties"]) == {"order_no", "amount"}
    assert (await ingest.http.get("/channels/form/main?topic=nothing")).status_code == 404
    assert (await ingest.http.get("/channels/form/other")).status_code == 404


async def test_form_with_wrong_credentials_is_not_stored(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [
        await form(ingest, {"text": "x"}, "wrong"),
        await form(ingest, {"text": "x"}, ""),
        await form(ingest, {"text": "x"}, Origin=ELSEWHERE),
        await ingest.http.post("/channels/form/main?token=form-new&token=form-old", json={}),
    ]
    monkeypatch.delenv("FORM_MAIN_SECRET")
    monkeypatch.delenv("FORM_MAIN_OLD")
    bad.append(await form(ingest, {"text": "x"}))

    assert [each.status_code for each in bad] == [401, 401, 403, 401, 401]
    assert await ingest.stored() == 0


async def test_visitor_with_a_renewed_session_keeps_the_chat(ingest: Ingest) -> None:
    begun = await session(ingest)
    token = begun.json()["token"]
    first = await ingest.outcome(await write(ingest, token, {"text": "Hi", "id": "m1"}))
    twice = await ingest.outcome(await write(ingest, token, {"text": "Hi", "id": "m1"}))
    renewed = (await session(ingest, token=token)).json()
    next_ = await ingest.outcome(await write(ingest, renewed["token"], {"text": "You there?"}))
    other = (await session(ingest)).json()
    apart = await ingest.outcome(await write(ingest, other["token"], {"text": "Hi", "id": "m1"}))

    assert begun.status_code == 201
    assert begun.headers["cache-control"] == "no-store"
    assert [first["outcome"], twice["outcome"], next_["outcome"], apart["outcome"]] == [
        "opened", "duplicate", "appended", "opened",
    ]  # fmt: skip
    assert first["request_id"] == next_["request_id"] != apart["request_id"]
    assert (renewed["visitor"], renewed["chat"]) == (begun.json()["visitor"], begun.json()["chat"])


async def test_session_of_another_page_account_or_time_is_refused(
    ingest: Ingest,
) -> None:
    token = (await session(ingest)).json()["token"]
    now = ingest.apps[0].state.service.clock()
    old = web_sessions.new_session(
        "main", SHOP, str(uuid4()), str(uuid4()), now - web_sessions.TOKEN_LIFETIME
    )
    foreign = web_sessions.new_session("other", SHOP, str(uuid4()), str(uuid4()), now)
    by_old_secret = web_sessions.new_session("main", SHOP, str(uuid4()), str(uuid4()), now)
    late = timedelta(seconds=1) + web_sessions.VISITOR_LIFETIME
    gone = web_sessions.new_session(
        "main", SHOP, str(uuid4()), str(uuid4()), now - web_sessions.TOKEN_LIFETIME - late
    )
    answers = {
        "no token": await ingest.http.post("/channels/widget/main", json={"text": "x"}),
        "of nobody": await write(ingest, token[:-3] + "abc", {"text": "x"}),
        "another page": await write(ingest, token, {"text": "x"}, ELSEWHERE),
        "expired": await write(ingest, web_sessions.sign(old, "widget-new"), {"text": "x"}),
        "another account": await write(
            ingest, web_sessions.sign(foreign, "widget-new"), {"text": "x"}
        ),
        "undeclared page": await session(ingest, ELSEWHERE),
        "long gone": await session(ingest, token=web_sessions.sign(gone, "widget-new")),
    }

    assert {name: each.status_code for name, each in answers.items()} == {
        "no token": 401,
        "of nobody": 401,
        "another page": 401,
        "expired": 401,
        "another account": 401,
        "undeclared page": 403,
        "long gone": 401,
    }
    assert await ingest.stored() == 0
    good = await write(ingest, web_sessions.sign(by_old_secret, "widget-old"), {"text": "x"})
    assert good.status_code == 202


async def test_preflight_of_a_declared_page_is_allowed(ingest: Ingest) -> None:
    async def asked(origin: str) -> httpx.Response:
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        return await ingest.http.options("/channels/widget/main", headers=headers)

    ours, theirs = await asked(SHOP), await asked(ELSEWHERE)

    assert ours.headers["access-control-allow-origin"] == SHOP
    assert "Authorization" in ours.headers["access-control-allow-headers"]
    assert "access-control-allow-origin" not in theirs.headers
    assert (await session(ingest)).headers["access-control-allow-origin"] == SHOP


async def test_visitor_above_the_rate_is_refused(ingest: Ingest) -> None:
    await ingest.world.apply(ROTATING.replace("per_visitor: 60/min", "per_visitor: 6/min"))

    async def limited() -> httpx.Response | None:
        answer = await form(ingest, {"text": "x"})
        return answer if answer.status_code == 429 else None

    answer = await eventually(limited)
    assert answer is not None
    assert 1 <= int(answer.headers["retry-after"]) <= 10
