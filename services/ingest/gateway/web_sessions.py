"""Sessions of the web widget: short-lived tokens that identify a visitor and a chat.

A token is a JWT (RFC 7519) with HMAC-SHA256. Its key is derived from the account's secret: a new
secret ends all sessions, and while two secrets are in force both are valid. Nothing is stored; the
token contains the whole session.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import jwt
from jwt.types import Options

TOKEN_LIFETIME = timedelta(minutes=15)
"""How long a token may be used; an open page requests the next one before that."""
RENEWAL_GRACE = timedelta(minutes=30)
"""How long after a token has expired its chat may be continued: a laptop may sleep that long."""
MAX_CHAT_DURATION = timedelta(hours=12)
"""The longest duration of a chat."""
VISITOR_LIFETIME = timedelta(days=30)
"""How long after a token has expired its visitor is recognised, in another chat."""
ALGORITHM = "HS256"
DECODE_OPTIONS: Options = {
    "require": ["aud", "sub", "sid", "origin", "auth_time", "exp"],
    "verify_exp": False,  # checked by our clock; an expired token may be renewed
    "verify_aud": False,
    "verify_iat": False,
    "verify_nbf": False,
}


class InvalidSession(Exception):
    """The token is malformed, not signed by us, too old, or for another account or origin."""


@dataclass(frozen=True, slots=True)
class Session:
    """A visitor of one origin, and the visitor's chat."""

    account: str
    origin: str
    visitor: str
    chat: str
    began: datetime
    expires: datetime

    def is_live(self, now: datetime) -> bool:
        """Return whether messages may be sent with this session."""
        return now < self.expires

    def renew(self, now: datetime, new_chat: str) -> "Session":
        """Return the next session: in the same chat, or in the new one if that has ended."""
        ends_at = min(self.expires + RENEWAL_GRACE, self.began + MAX_CHAT_DURATION)
        if now >= ends_at:
            return replace(self, chat=new_chat, began=now, expires=now + TOKEN_LIFETIME)
        return replace(self, expires=min(now + TOKEN_LIFETIME, self.began + MAX_CHAT_DURATION))


def new_session(account: str, origin: str, visitor: str, chat: str, now: datetime) -> Session:
    """Return the session of a new visitor."""
    return Session(account, origin, visitor, chat, now, now + TOKEN_LIFETIME)


def sign(session: Session, secret: str) -> str:
    """Return a session's token."""
    claims = {
        "aud": _audience(session.account),
        "sub": session.visitor,
        "sid": session.chat,
        "origin": session.origin,
        "auth_time": int(session.began.timestamp()),
        "exp": int(session.expires.timestamp()),
    }
    return jwt.encode(claims, _key(secret), ALGORITHM)


def read(token: str, secrets: list[str], account: str, origin: str, now: datetime) -> Session:
    """Read a token, expired or not; raises `InvalidSession`.

    `secrets` are those of the account that are in force.
    """
    claims = _claims(token, secrets)
    if claims is None:
        raise InvalidSession("the session token is malformed, or its signature does not hold")
    if claims.get("aud") != _audience(account) or claims.get("origin") != origin:
        raise InvalidSession("the session token is for another account or origin")
    session = Session(
        account,
        origin,
        str(UUID(str(claims["sub"]))),
        str(UUID(str(claims["sid"]))),
        datetime.fromtimestamp(claims["auth_time"], UTC),
        datetime.fromtimestamp(claims["exp"], UTC),
    )
    if now >= session.expires + VISITOR_LIFETIME:
        raise InvalidSession("the session ended long ago")
    return session


def _claims(token: str, secrets: list[str]) -> dict[str, Any] | None:
    """Return the claims of a token signed with one of the secrets, or None."""
    for secret in secrets:
        try:
            return jwt.decode(token, _key(secret), [ALGORITHM], options=DECODE_OPTIONS)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            continue
    return None


def _audience(account: str) -> str:
    return f"widget/{account}"


def _key(secret: str) -> bytes:
    return sha256(b"widget session\n" + secret.encode()).digest()
