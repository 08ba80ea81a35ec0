"""Sessions of the web widget: short-lived tokens that say who a visitor is, and in which chat.

A token is a JWT (RFC 7519) with HMAC-SHA256; its key is derived from the account's secret, so
another secret ends all sessions, and while two secrets live both are good. Nothing is stored: a
session is what its token says.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import jwt
from jwt.types import Options

TOKEN_LIFETIME = timedelta(minutes=15)
"""How long a token opens the door; a page that is open asks for the next one before that."""
RENEWAL_GRACE = timedelta(minutes=30)
"""How long after its token's end a chat is still the visitor's: a laptop may sleep that long."""
MAX_CHAT_DURATION = timedelta(hours=12)
"""How long one chat can be renewed."""
VISITOR_LIFETIME = timedelta(days=30)
"""How long a visitor who comes back is still the same one, in another chat."""
ALGORITHM = "HS256"
DECODE_OPTIONS: Options = {
    "require": ["aud", "sub", "sid", "origin", "auth_time", "exp"],
    "verify_exp": False,  # by our clock, and what has expired can be renewed
    "verify_aud": False,
    "verify_iat": False,
    "verify_nbf": False,
}


class InvalidSession(Exception):
    """There is no session: no token, one that is not ours, or one of another account or page."""


@dataclass(frozen=True, slots=True)
class Session:
    """A visitor of one origin, and the chat they are in."""

    account: str
    origin: str
    visitor: str
    chat: str
    began: datetime
    expires: datetime

    def live(self, now: datetime) -> bool:
        """Whether messages may be sent with it."""
        return now < self.expires

    def renewed(self, now: datetime, chat: str) -> "Session":
        """Give the session the visitor goes on with: in the same chat if it has not ended."""
        ends = min(self.expires + RENEWAL_GRACE, self.began + MAX_CHAT_DURATION)
        if now >= ends:
            return replace(self, chat=chat, began=now, expires=now + TOKEN_LIFETIME)
        return replace(self, expires=min(now + TOKEN_LIFETIME, self.began + MAX_CHAT_DURATION))


def new_session(account: str, origin: str, visitor: str, chat: str, now: datetime) -> Session:
    """Give a session of somebody who was not here before."""
    return Session(account, origin, visitor, chat, now, now + TOKEN_LIFETIME)


def sign(session: Session, secret: str) -> str:
    """Write a session as a token."""
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
    """Read a token, whether it has expired or not; `InvalidSession` says why there is none."""
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
