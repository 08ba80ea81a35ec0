"""Verification of tokens: JSON Web Tokens signed with Ed25519.

Each purpose has its audience and maximum lifetime, so a token of one purpose is invalid for others.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeGuard

import jwt

from chassis.auth.jwks import ALGORITHM, Keys, KeysUnavailable
from chassis.auth.signing import (
    DEVICE_AUDIENCE,
    MAX_DEVICE_TOKEN_LIFETIME,
    MAX_TOKEN_LIFETIME,
    SUBJECT,
)
from chassis.web.problems import Problem, unavailable

MAX_CLOCK_SKEW_S = 60.0
"""Seconds an issuer's clock may be ahead of ours, for tokens that must have `iat`."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """A purpose of tokens."""

    audience: str
    max_lifetime: timedelta
    scheme: str
    """The scheme in `Authorization`."""
    is_dated: bool = False
    """Whether a token must have `aud` and `iat`."""


PEOPLE = Purpose("trunkline", MAX_TOKEN_LIFETIME, "Bearer")
"""Tokens of operators, supervisors and programs; their roles determine what they may do."""
DEVICES = Purpose(DEVICE_AUDIENCE, MAX_DEVICE_TOKEN_LIFETIME, "DPoP", is_dated=True)
"""Tokens of a customer's device, which may only write as that customer."""


def unauthorized(
    why: str, *, error: str | None = "invalid_token", scheme: str = "Bearer"
) -> Problem:
    """Return 401 with the reason why the token is missing or refused."""
    challenge = f'{scheme} realm="trunkline"' + (f', error="{error}"' if error else "")
    return Problem(401, "unauthorized", why, headers={"WWW-Authenticate": challenge})


@dataclass(frozen=True, slots=True)
class Trust:
    """The issuer whose tokens are accepted, and the audience people's tokens must name.

    Empty: any issuer; `trunkline` as the audience where a token has one.
    """

    issuer: str = ""
    audience: str = ""

    def audience_for(self, purpose: Purpose) -> str:
        """Return the audience a token for this purpose must name."""
        return purpose.audience if purpose.is_dated else self.audience or purpose.audience

    def demands_audience(self, purpose: Purpose) -> bool:
        """Return whether a token for this purpose without `aud` is refused."""
        return purpose.is_dated or bool(self.audience)


ANYBODY = Trust()
"""Trust in this instance's own keys: every token they signed is meant for it."""


async def claims_of(
    token: str, keys: Keys, purpose: Purpose, now: float, trust: Trust = ANYBODY
) -> dict[str, Any]:
    """Return the claims of a token; `now` is in unix seconds.

    Raises a `Problem`: 401 for a token that is not valid, 503 when the keys are unavailable.
    """
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = await keys.find(kid)
        if key is None:
            raise _refusal("the token is signed with an unknown key", purpose)
        claims: dict[str, Any] = jwt.decode(
            token,
            key=key.key,
            algorithms=[ALGORITHM],
            options={
                "require": ["exp", "sub"],
                "verify_exp": False,  # checked below, by our clock
                "verify_nbf": False,
                "verify_iat": False,
                "verify_aud": False,  # checked below, as is the issuer
                "verify_iss": False,
            },
        )
    except KeysUnavailable as error:
        raise unavailable(str(error), retry_after=5) from error
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        why = "the token is malformed or its signature is not valid"
        raise _refusal(why, purpose) from error
    wrong = _untimely(claims, purpose, now) or _misdirected(claims, purpose, trust)
    if wrong is not None:
        raise _refusal(wrong, purpose)
    return claims


def subject_of(claims: dict[str, Any], name: str = "sub") -> str | None:
    """Return a claim that is fit for logs, facts and subjects; None otherwise."""
    subject = claims.get(name)
    return subject if isinstance(subject, str) and SUBJECT.fullmatch(subject) else None


def _untimely(claims: dict[str, Any], purpose: Purpose, now: float) -> str | None:
    expires, begins = claims["exp"], claims.get("nbf", 0)
    made = claims.get("iat") if purpose.is_dated else now
    if not is_number(expires) or not is_number(begins) or not is_number(made):
        return "`exp`, `nbf` and `iat` must be numbers"
    longest = purpose.max_lifetime.total_seconds()
    ahead = MAX_CLOCK_SKEW_S if purpose.is_dated else 0.0
    if not expires - now > 0:
        return "the token has expired"
    if not expires - now <= longest + ahead or not expires - made <= longest:
        return f"the token expires more than {_words(longest)} ahead"
    return None if begins <= now and made <= now + ahead else "the token is not valid yet"


def _misdirected(claims: dict[str, Any], purpose: Purpose, trust: Trust) -> str | None:
    """Return why a token has the wrong issuer or audience; None when both are right."""
    if trust.issuer and claims.get("iss") != trust.issuer:
        return f"the token's issuer is not {trust.issuer} (`iss`)"
    audience = trust.audience_for(purpose)
    meant = claims.get("aud", None if trust.demands_audience(purpose) else audience)
    if audience not in (meant if isinstance(meant, list) else [meant]):
        return f"the token is not meant for {audience} (`aud`)"
    return None


def _words(seconds: float) -> str:
    return f"{seconds / 3600:g} hours" if seconds >= 3600 else f"{seconds / 60:g} minutes"


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a claim is a number that can be a time in unix seconds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53


def _refusal(why: str, purpose: Purpose) -> Problem:
    return unauthorized(why, scheme=purpose.scheme)
