"""Who is calling, and which roles they hold: JSON Web Tokens signed with Ed25519.

Chassis knows the roles by name only; what each may do is said where it is done.
"""

import json
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import Depends, FastAPI, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from chassis.jwks import ALGORITHM, Keys, KeysAway, load_key, thumbprint
from chassis.problems import Problem, unavailable

LONGEST: Final = 12 * 3600
"""Seconds a token may still be good for; one that promises more is refused."""
LEEWAY: Final = 5
REQUIRED: Final = ["exp", "sub"]


class Role(StrEnum):
    """The roles there are."""

    OPERATOR = "operator"
    LIGHT_AGENT = "light_agent"
    SUPERVISOR = "supervisor"
    ADMINISTRATOR = "administrator"
    INTEGRATOR = "integrator"
    ANALYST = "analyst"


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who has shown a token."""

    subject: str
    roles: frozenset[Role]

    def has(self, *roles: Role) -> bool:
        """Whether they hold one of these roles."""
        return not self.roles.isdisjoint(roles)


def new_key() -> tuple[str, str]:
    """Make a signing key: the private part as PEM, the public one as a JWKS document."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return pem, jwks_of(pem)


def jwks_of(pem: str) -> str:
    """Give the JWKS document of a signing key."""
    key = load_key(pem)
    public: dict[str, Any] = jwt.algorithms.OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return json.dumps({"keys": [{**public, "kid": thumbprint(key), "alg": ALGORITHM, "use": "sig"}]})


def sign(pem: str, subject: str, roles: Iterable[str], ttl: int = 3600) -> str:
    """Sign a token good for `ttl` seconds; raises ValueError for an unknown role or a longer life than 12 h."""
    held = [Role(role).value for role in roles]
    if not 0 < ttl <= LONGEST:
        raise ValueError(f"a token lives 1 to {LONGEST} seconds, not {ttl}")
    key, now = load_key(pem), int(time.time())
    claims = {"sub": subject, "roles": held, "iat": now, "exp": now + ttl}
    return jwt.encode(claims, key, ALGORITHM, headers={"kid": thumbprint(key)})


def unauthenticated(why: str) -> Problem:
    """Say that nobody has been recognised."""
    return Problem(401, "unauthenticated", why, headers={"WWW-Authenticate": "Bearer"})


async def identify(keys: Keys, token: str) -> Identity:
    """Recognise the bearer of a token; raises a 401 problem that says what is wrong with it."""
    try:
        kid = jwt.get_unverified_header(token).get("kid", "")
        key = await keys.find(str(kid))
        if key is None:
            raise unauthenticated("the token is signed with a key nobody here knows")
        claims = jwt.decode(
            token, key, [ALGORITHM], leeway=LEEWAY, options={"require": REQUIRED, "verify_aud": False}
        )
    except KeysAway as why:
        raise unavailable(str(why)) from why
    except jwt.PyJWTError as why:
        raise unauthenticated(f"the token is not good: {why}") from why
    return _identity(claims)


def _identity(claims: dict[str, Any]) -> Identity:
    subject, roles = claims["sub"], claims.get("roles")
    if claims["exp"] - time.time() > LONGEST + LEEWAY:
        raise unauthenticated(f"the token lives longer than {LONGEST} seconds")
    if not isinstance(subject, str) or not subject:
        raise unauthenticated("the token names no subject")
    if not isinstance(roles, list) or not roles:
        raise unauthenticated("the token names no roles")
    known = {role.value for role in Role}
    unknown = [role for role in roles if role not in known]
    if unknown:
        raise unauthenticated(f"the token names unknown roles (allowed: {', '.join(sorted(known))})")
    return Identity(subject, frozenset(Role(role) for role in roles))


_bearer = HTTPBearer(auto_error=False, bearerFormat="JWT", description="A token signed with EdDSA")


async def caller(
    request: Request,
    shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Identity:
    """Give whoever calls; 401 when they cannot be recognised."""
    if shown is None:
        raise unauthenticated("no bearer token was shown")
    return await identify(request.app.state.keys, shown.credentials)


Caller = Annotated[Identity, Depends(caller)]


def allow(*roles: Role) -> Callable[[Identity], Awaitable[Identity]]:
    """Let in only those who hold one of these roles: `Annotated[Identity, Depends(allow(Role.ANALYST))]`."""

    async def allowed(who: Caller) -> Identity:
        if not who.has(*roles):
            needed = sorted(role.value for role in roles)
            held = sorted(role.value for role in who.roles)
            raise Problem(
                403, "forbidden", f"this needs the role {' or '.join(needed)}", needed=needed, held=held
            )
        return who

    return allowed


def install(app: FastAPI, source: str) -> None:
    """Let this app recognise tokens whose keys are found at `source`."""
    app.state.keys = Keys(source)
