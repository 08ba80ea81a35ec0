"""What a token says, once its signature holds: JSON Web Tokens signed with Ed25519.

Each purpose has its audience and its longest life, so that a token for one never serves another.
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
"""Seconds an issuer's clock may be ahead of ours, where a token tells when it was made."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What tokens are for."""

    audience: str
    max_lifetime: timedelta
    scheme: str
    """How they are shown in `Authorization`."""
    is_dated: bool = False
    """Whether a token must be meant for us by name, and say when it was made."""


PEOPLE = Purpose("trunkline", MAX_TOKEN_LIFETIME, "Bearer")
"""Operators, supervisors and programs: what they may do is said by their roles."""
DEVICES = Purpose(DEVICE_AUDIENCE, MAX_DEVICE_TOKEN_LIFETIME, "DPoP", is_dated=True)
"""A customer's device: it may write to us as that customer, and nothing else."""


def unauthorized(
    why: str, *, error: str | None = "invalid_token", scheme: str = "Bearer"
) -> Problem:
    """Say that nobody has shown who they are, and why their token does not do."""
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
"""The issuer's keys are this instance's own: whatever they sign is meant for it."""


async def claims_of(
    token: str, keys: Keys, purpose: Purpose, now: float, trust: Trust = ANYBODY
) -> dict[str, Any]:
    """Give what a token says, or refuse it; `now` is in unix seconds."""
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = await keys.find(kid)
        if key is None:
            raise _refusal("the token is signed with a key that is not known", purpose)
        claims: dict[str, Any] = jwt.decode(
            token,
            key=key.key,
            algorithms=[ALGORITHM],
            options={
                "require": ["exp", "sub"],
                "verify_exp": False,  # by our clock, below
                "verify_nbf": False,
                "verify_iat": False,
                "verify_aud": False,  # audience and issuer: below
                "verify_iss": False,
            },
        )
    except KeysUnavailable as error:
        raise unavailable(str(error), retry_after=5) from error
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        why = "the token is malformed or its signature does not hold"
        raise _refusal(why, purpose) from error
    wrong = _untimely(claims, purpose, now) or _misdirected(claims, purpose, trust)
    if wrong is not None:
        raise _refusal(wrong, purpose)
    return claims


def subject_of(claims: dict[str, Any], name: str = "sub") -> str | None:
    """Give a name that is fit for logs, facts and addresses, or None."""
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
    """Return why a token is another's: not from our issuer, or not meant for us."""
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
    """Tell whether a claim is a number that can be a time; what is not one is none of ours."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53


def _refusal(why: str, purpose: Purpose) -> Problem:
    return unauthorized(why, scheme=purpose.scheme)
