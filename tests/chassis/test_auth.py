"""Who gets in, and who does not."""

import json
import time
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import jwt
import pytest
import pytest_asyncio
from fastapi import Depends, FastAPI

from chassis.auth import dependencies
from chassis.auth.claims import ANYBODY, DEVICES, PEOPLE, Purpose, Trust
from chassis.auth.dependencies import Auth, Caller, Identity, Role, allow, jwks, new_key, sign
from chassis.auth.jwks import MAX_KEYS_AGE_S, MIN_READ_INTERVAL_S, Keys
from chassis.web import problems

PEM, JWKS = new_key()
KID = json.loads(JWKS)["keys"][0]["kid"]
Keeper = Annotated[Identity, Depends(allow(Role.SUPERVISOR, Role.ADMINISTRATOR))]


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncGenerator[httpx.AsyncClient]:
    (tmp_path / "jwks.json").write_text(JWKS)
    async with client_of(f"file:{tmp_path / 'jwks.json'}") as opened:
        yield opened


def client_of(url: str, trust: Trust = ANYBODY) -> httpx.AsyncClient:
    app = FastAPI()
    problems.install(app)
    dependencies.install(app, url, trust)

    @app.get("/me")
    async def me(who: Caller) -> dict[str, Any]:
        return {"subject": who.subject, "roles": sorted(who.roles)}

    @app.get("/kept")
    async def kept(who: Keeper) -> str:
        return who.subject

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def forged(key: str = PEM, algorithm: str = "EdDSA", **claims: Any) -> str:
    kept = {"sub": "anna", "roles": ["operator"], "exp": time.time() + 7200} | claims
    kept = {name: value for name, value in kept.items() if value is not ...}
    return jwt.encode(kept, key, algorithm, headers={"kid": KID})


async def test_a_signed_token_says_who_is_calling(client: httpx.AsyncClient) -> None:
    token = sign(PEM, "anna", [Role.OPERATOR, "supervisor"])

    assert (await client.get("/me", headers=bearer(token))).json() == {
        "subject": "anna",
        "roles": ["operator", "supervisor"],
    }
    assert (await client.get("/kept", headers=bearer(token))).json() == "anna"


async def test_without_a_token_the_way_in_is_told(client: httpx.AsyncClient) -> None:
    answer = await client.get("/me")

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="trunkline"'
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "unauthorized"


REFUSED = {
    "expired": forged(exp=time.time() - 1),
    "without end": forged(exp=...),
    "for too long": forged(exp=time.time() + 24 * 3600),
    "for ever": forged(exp=float("nan")),
    "for more than a number can say": forged(exp=10**400),
    "not yet": forged(nbf=time.time() + 6 * 3600),
    "nobody": forged(sub=...),
    "a sentence for a subject": forged(sub="a b"),
    "an unknown role": forged(roles=["operator", "king"]),
    "roles as text": forged(roles="operator"),
    "no roles at all": forged(roles=...),
    "for somebody else": forged(aud="billing"),
    "another's key": forged(new_key()[0]),
    "a shared secret": forged("x" * 32, "HS256"),
    "no signature": jwt.encode({"sub": "anna", "roles": [], "exp": 9e9}, "", "none"),
    "no token": "x.y.z",
    "a deep header": "W1tb" * 16000 + ".e30.e30",
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
async def test_a_token_that_does_not_do_is_refused(client: httpx.AsyncClient, token: str) -> None:
    answer = await client.get("/me", headers=bearer(token))

    assert answer.status_code == 401, answer.text
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


TRUST = Trust("https://id.test/", "desk")
OURS: dict[str, Any] = {"iss": "https://id.test/", "aud": "desk"}
MISDIRECTED = {
    "another issuer": OURS | {"iss": "https://evil.test/"},
    "an issuer that looks like ours": OURS | {"iss": "https://id.test"},
    "a longer issuer": OURS | {"iss": "https://id.test/evil"},
    "no issuer": OURS | {"iss": ...},
    "another audience": OURS | {"aud": "billing"},
    "the name that is usual elsewhere": OURS | {"aud": "trunkline"},
    "no audience": OURS | {"aud": ...},
    "no audience named": OURS | {"aud": []},
    "an audience that begins so": OURS | {"aud": "desk-2"},
}


@pytest.mark.parametrize("claims", MISDIRECTED.values(), ids=MISDIRECTED)
async def test_token_for_others_is_refused_where_trust_is_set(
    tmp_path: Path, claims: dict[str, Any]
) -> None:
    (tmp_path / "jwks.json").write_text(JWKS)
    async with client_of(f"file:{tmp_path / 'jwks.json'}", TRUST) as client:
        assert (await client.get("/me", headers=bearer(forged(**claims)))).status_code == 401
        for aud in ("desk", ["billing", "desk"]):
            answer = await client.get("/me", headers=bearer(forged(**OURS | {"aud": aud})))
            assert answer.status_code == 200


async def test_foreign_issuer_without_trust_is_taken(client: httpx.AsyncClient) -> None:
    """The control: what is refused above is refused by the setting alone."""
    foreign = forged(iss="https://evil.test/")

    assert (await client.get("/me", headers=bearer(foreign))).status_code == 200


@pytest.mark.parametrize(("purpose", "aud"), [(PEOPLE, "desk"), (DEVICES, "trunkline-sdk")])
async def test_issuer_is_checked_for_people_and_devices(
    tmp_path: Path, purpose: Purpose, aud: str
) -> None:
    (tmp_path / "jwks.json").write_text(JWKS)
    known = Auth(Keys(f"file:{tmp_path / 'jwks.json'}"), TRUST)
    soon: dict[str, Any] = {"iat": time.time(), "exp": time.time() + 60, "aud": aud}

    assert (await known.claims(forged(iss=TRUST.issuer, **soon), purpose))["sub"] == "anna"
    with pytest.raises(problems.Problem, match="issuer is not https://id"):
        await known.claims(forged(iss="https://evil.test/", **soon), purpose)


async def test_of_two_tokens_none_is_believed(client: httpx.AsyncClient) -> None:
    good, bad = (f"Bearer {each}" for each in (forged(), "x.y.z"))

    for pair in ((good, bad), (bad, good), (good, good)):
        headers = [("Authorization", each) for each in pair]
        assert (await client.get("/me", headers=headers)).status_code == 401
    assert (await client.get("/me", headers=[("Authorization", good)])).status_code == 200


async def test_a_token_meant_for_us_among_others_is_taken(client: httpx.AsyncClient) -> None:
    answer = await client.get("/me", headers=bearer(forged(aud=["billing", "trunkline"])))

    assert answer.status_code == 200


async def test_a_role_that_is_lacking_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.get("/kept", headers=bearer(sign(PEM, "anna", [Role.OPERATOR])))

    assert answer.status_code == 403
    assert answer.json() == {
        "type": "forbidden",
        "title": "Forbidden",
        "status": 403,
        "detail": "this takes the role administrator or supervisor; you hold operator",
        "needs": ["administrator", "supervisor"],
        "holds": ["operator"],
    }


@pytest.mark.parametrize("url", ["", "file:/absent/jwks.json", "http://127.0.0.1:9/jwks"])
async def test_without_keys_nobody_gets_in(url: str) -> None:
    async with client_of(url) as client:
        answer = await client.get("/me", headers=bearer(sign(PEM, "anna", [])))

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"


async def test_an_unknown_key_is_looked_up_but_not_at_every_request(tmp_path: Path) -> None:
    now = 1000.0
    path = tmp_path / "jwks.json"
    path.write_text(JWKS)
    keys = Keys(f"file:{path}", clock=lambda: now)
    known = Auth(keys)
    later = new_key()[0]
    token = sign(later, "bohdan", [])
    await known.identify(sign(PEM, "anna", []))
    path.write_text(jwks(PEM, later))

    with pytest.raises(problems.Problem, match="unknown key"):
        await known.identify(token)
    now += MIN_READ_INTERVAL_S

    assert (await known.identify(token)).subject == "bohdan"


async def test_a_withdrawn_key_stops_working(tmp_path: Path) -> None:
    now = 1000.0
    path = tmp_path / "jwks.json"
    path.write_text(JWKS)
    known = Auth(Keys(f"file:{path}", clock=lambda: now))
    token = sign(PEM, "anna", [])
    await known.identify(token)
    path.write_text(new_key()[1])
    assert (await known.identify(token)).subject == "anna"

    now += MAX_KEYS_AGE_S

    with pytest.raises(problems.Problem, match="unknown key"):
        await known.identify(token)


async def test_a_remembered_token_expires_all_the_same(tmp_path: Path) -> None:
    now = time.time()
    (tmp_path / "jwks.json").write_text(JWKS)
    known = Auth(Keys(f"file:{tmp_path / 'jwks.json'}"), clock=lambda: now)
    token = sign(PEM, "anna", [], timedelta(seconds=30))
    await known.identify(token)

    now += 30

    with pytest.raises(problems.Problem, match="expired"):
        await known.identify(token)


@pytest.mark.parametrize("hours", [0, 13])
def test_a_token_is_not_signed_for_longer_than_it_may_live(hours: int) -> None:
    with pytest.raises(ValueError, match="12 hours"):
        sign(PEM, "anna", [], timedelta(hours=hours))


async def test_the_way_in_is_documented(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()

    assert document["components"]["securitySchemes"]["HTTPBearer"]["bearerFormat"] == "JWT"
    assert document["paths"]["/kept"]["get"]["security"] == [{"HTTPBearer": []}]
