"""FastAPI dependencies for the caller and their roles, from the token in `Authorization`.

The chassis knows the roles by name only; each route declares which of them it needs.
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
    """Verifies tokens, and caches the identities of verified ones."""

    def __init__(
        self, keys: Keys, trust: Trust = ANYBODY, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Verify with these keys, issuer and audience, by this clock (unix seconds)."""
        self.keys = keys
        self.trust = trust
        self._clock = clock
        self._edition = 0
        self._cache: dict[str, tuple[Identity, float]] = {}

    async def identify(self, token: str) -> Identity:
        """Return the identity of a token; raise a `Problem` when it is refused."""
        await self.keys.refresh()
        if self._edition != self.keys.generation:
            self._cache.clear()
            self._edition = self.keys.generation
        if (cached := self._cache.get(token)) is not None and cached[1] > self._clock():
            return cached[0]
        claims = await self.claims(token, PEOPLE)
        if "cnf" in claims:
            raise unauthorized("the token is bound to a key: it needs a proof")
        identity = Identity(_subject(claims), _roles(claims))
        if len(self._cache) >= MAX_CACHED_TOKENS:
            self._cache.clear()
        self._cache[token] = (identity, float(claims["exp"]))
        return identity

    async def claims(self, token: str, purpose: Purpose) -> dict[str, Any]:
        """Return the claims of a token of this purpose; raise a `Problem` when it is refused."""
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
    """Return the scheme in lower case and the credentials of a single `Authorization` header.

    Both are empty for several headers, of which proxy and service could each take another one
    (RFC 9110, 5.3: the header is no list).
    """
    headers = request.headers.getlist("authorization")
    scheme, _, value = (headers[0] if len(headers) == 1 else "").partition(" ")
    return scheme.lower(), value.strip()


async def caller(
    request: Request, bearer_token: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Identity:
    """Return the caller's identity; raise 401 without a valid token."""
    if bearer_token is None or not credentials(request)[1]:
        raise unauthorized("a bearer token is needed", error=None)
    auth: Auth = request.app.state.auth
    return await auth.identify(bearer_token.credentials)


Caller = Annotated[Identity, Depends(caller)]
"""The caller, whatever their roles."""


def allow(*roles: Role) -> Callable[[Identity], Awaitable[Identity]]:
    """Return a dependency that requires one of these roles, and returns the caller.

    Use it as `Annotated[Identity, Depends(allow(Role.SUPERVISOR))]`.
    """

    async def allowed(caller: Caller) -> Identity:
        caller.require(*roles)
        return caller

    return allowed


def install(app: FastAPI, jwks_url: str, trust: Trust = ANYBODY) -> Auth:
    """Set up token verification for `Caller` and `allow`."""
    app.state.auth = Auth(Keys(jwks_url), trust)
    return app.state.auth  # type: ignore[no-any-return]  # the state is untyped
