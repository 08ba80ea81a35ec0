"""Who is calling, and which roles they hold: JSON Web Tokens signed with Ed25519.

Chassis knows the roles by name only; what each may do is said where it is done.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from chassis.jwks import ALGORITHM, Keys, KeysAway
from chassis.problems import Problem, unavailable
from chassis.roles import Identity, Role, forbidden
from chassis.signing import LONGEST, SUBJECT, jwks, new_key, sign

__all__ = [
    "Auth",
    "Caller",
    "Identity",
    "Role",
    "allow",
    "forbidden",
    "install",
    "jwks",
    "new_key",
    "sign",
    "unauthorized",
]

AUDIENCE = "trunkline"
"""A token meant for somebody in particular must be meant for us."""

REMEMBERED = 1024


def unauthorized(why: str, *, error: str | None = "invalid_token") -> Problem:
    """Say that nobody has shown who they are, and why their token does not do."""
    challenge = 'Bearer realm="trunkline"' + (f', error="{error}"' if error else "")
    return Problem(401, "unauthorized", why, headers={"WWW-Authenticate": challenge})


class Auth:
    """Checks tokens, and remembers for a while which it has checked."""

    def __init__(self, keys: Keys, *, clock: Callable[[], float] = time.time) -> None:
        """Check against these keys, by this clock."""
        self.keys = keys
        self._clock = clock
        self._edition = 0
        self._known: dict[str, tuple[Identity, float]] = {}

    async def identify(self, token: str) -> Identity:
        """Give whom the token stands for, or refuse it."""
        await self.keys.refresh()
        if self._edition != self.keys.edition:
            self._known.clear()
            self._edition = self.keys.edition
        if (known := self._known.get(token)) is not None and known[1] > self._clock():
            return known[0]
        claims = await self._claims(token)
        who = Identity(_subject(claims), _roles(claims))
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[token] = (who, float(claims["exp"]))
        return who

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = await self.keys.find(kid)
            if key is None:
                raise unauthorized("the token is signed with a key that is not known")
            claims: dict[str, Any] = jwt.decode(
                token,
                key=key.key,
                algorithms=[ALGORITHM],
                options={
                    "require": ["exp", "sub"],
                    "verify_exp": False,  # by our clock, below
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": False,
                },
            )
        except KeysAway as error:
            raise unavailable(str(error), retry_after=5) from error
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise unauthorized("the token is malformed or its signature does not hold") from error
        _check_times(claims, self._clock())
        _check_audience(claims)
        return claims


def _check_times(claims: dict[str, Any], now: float) -> None:
    expires, begins = claims["exp"], claims.get("nbf", 0)
    if not _is_number(expires) or not _is_number(begins):
        raise unauthorized("`exp` and `nbf` must be numbers")
    left = expires - now
    if not left > 0:
        raise unauthorized("the token has expired")
    if not left <= LONGEST.total_seconds():
        raise unauthorized("the token expires more than 12 hours ahead")
    if not begins <= now:
        raise unauthorized("the token is not valid yet")


def _check_audience(claims: dict[str, Any]) -> None:
    meant = claims.get("aud", AUDIENCE)
    if AUDIENCE not in (meant if isinstance(meant, list) else [meant]):
        raise unauthorized("the token is meant for somebody else")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _subject(claims: dict[str, Any]) -> str:
    subject = claims["sub"]
    if not isinstance(subject, str) or not SUBJECT.fullmatch(subject):
        raise unauthorized("`sub` must be 1 to 200 printable characters without spaces")
    return subject


def _roles(claims: dict[str, Any]) -> frozenset[Role]:
    roles = claims.get("roles")
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise unauthorized("`roles` must be a list of names")
    try:
        return frozenset(map(Role, roles))
    except ValueError as error:
        raise unauthorized(f"`roles` may hold {', '.join(Role)} only") from error


bearer = HTTPBearer(
    auto_error=False, bearerFormat="JWT", description="`trunkline token --role R --subject S`"
)


async def caller(
    request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Identity:
    """Give who is calling; nobody unknown gets past."""
    if shown is None:
        raise unauthorized("a bearer token is needed", error=None)
    auth: Auth = request.app.state.auth
    return await auth.identify(shown.credentials)


Caller = Annotated[Identity, Depends(caller)]
"""Who is calling, whatever their roles."""


def allow(*roles: Role) -> Callable[[Identity], Awaitable[Identity]]:
    """Make a dependency that lets in those who hold one of these roles, and gives who it is.

    Use it as `Annotated[Identity, Depends(allow(Role.SUPERVISOR))]`.
    """

    async def allowed(who: Caller) -> Identity:
        who.require(*roles)
        return who

    return allowed


def install(app: FastAPI, jwks_url: str) -> Auth:
    """Give the app what `Caller` and `allow` check tokens with."""
    app.state.auth = Auth(Keys(jwks_url))
    return app.state.auth  # type: ignore[no-any-return]  # the state is untyped
