"""Who is calling, and which roles they hold: JSON Web Tokens signed with Ed25519.

Chassis knows the roles by name only; what each may do is said where it is done.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from chassis.auth.claims import ANYBODY, PEOPLE, Purpose, Trust, claims_of, subject_of, unauthorized
from chassis.auth.jwks import Keys
from chassis.auth.roles import Identity, Role, forbidden
from chassis.auth.signing import jwks, new_key, sign

__all__ = [
    "Auth",
    "Caller",
    "Identity",
    "Role",
    "allow",
    "credentials",
    "forbidden",
    "install",
    "jwks",
    "new_key",
    "sign",
    "unauthorized",
]

MAX_CACHED_TOKENS = 1024


class Auth:
    """Checks tokens, and remembers for a while which it has checked."""

    def __init__(
        self, keys: Keys, trust: Trust = ANYBODY, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Check against these keys, issuer and audience, by this clock."""
        self.keys = keys
        self.trust = trust
        self._clock = clock
        self._edition = 0
        self._known: dict[str, tuple[Identity, float]] = {}

    async def identify(self, token: str) -> Identity:
        """Give whom the token stands for, or refuse it."""
        await self.keys.refresh()
        if self._edition != self.keys.generation:
            self._known.clear()
            self._edition = self.keys.generation
        if (known := self._known.get(token)) is not None and known[1] > self._clock():
            return known[0]
        claims = await self.claims(token, PEOPLE)
        if "cnf" in claims:
            raise unauthorized("the token is bound to a key: it does not do on its own")
        who = Identity(_subject(claims), _roles(claims))
        if len(self._known) >= MAX_CACHED_TOKENS:
            self._known.clear()
        self._known[token] = (who, float(claims["exp"]))
        return who

    async def claims(self, token: str, purpose: Purpose) -> dict[str, Any]:
        """Give what a token for this purpose says, or refuse it."""
        return await claims_of(token, self.keys, purpose, self._clock(), self.trust)


def _subject(claims: dict[str, Any]) -> str:
    subject = subject_of(claims)
    if subject is None:
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


def credentials(request: Request) -> tuple[str, str]:
    """Give what `Authorization` says, if it is there exactly once: a scheme in small letters, more.

    Of two, proxies and services could each believe another one (RFC 9110, 5.3: it is no list).
    """
    told = request.headers.getlist("authorization")
    scheme, _, more = (told[0] if len(told) == 1 else "").partition(" ")
    return scheme.lower(), more.strip()


async def caller(
    request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Identity:
    """Give who is calling; nobody unknown gets past."""
    if shown is None or not credentials(request)[1]:
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


def install(app: FastAPI, jwks_url: str, trust: Trust = ANYBODY) -> Auth:
    """Give the app what `Caller` and `allow` check tokens with."""
    app.state.auth = Auth(Keys(jwks_url), trust)
    return app.state.auth  # type: ignore[no-any-return]  # the state is untyped
