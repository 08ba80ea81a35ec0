"""Customers' devices, which write with a short token bound to the device's own key.

The company's own server gives the token to its app; it says for which account and as which
contact the app writes. What the app says of the contact's id and addresses counts for nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from starlette.requests import Request

from chassis.auth.claims import DEVICES, subject_of, unauthorized
from chassis.auth.dependencies import Auth
from chassis.web.problems import Problem, invalid
from ingest.channels.http_api.parser import Sender
from ingest.channels.parsing import MAX_NAME_CHARS, text_or_none
from ingest.domain.items import Person
from ingest.gateway.device_proof import InvalidProof, ProvenRequest, verify_proof

CONTACT_RATE_PER_S = 5.0
"""Submissions a second of one contact, so that no device uses up what its account may send."""


@dataclass(frozen=True, slots=True)
class Device:
    """Who writes, as their token says."""

    account: str
    person: Person
    proof: str
    """The id of the proof: shown again, it is the same submission."""

    def key(self, idempotency_key: str | None) -> str:
        """Give the key under which a submission of this contact may be repeated."""
        own = f"key {idempotency_key}" if idempotency_key is not None else f"proof {self.proof}"
        return "sdk:" + sha256(f"{self.person.address}\n{own}".encode()).hexdigest()


async def authenticate_device(request: Request, token: str, now: float) -> Device:
    """Give whose device this is, or refuse it."""
    auth: Auth = request.app.state.auth
    claims = await auth.claims(token, DEVICES)
    shown = [value for name, value in request.scope["headers"] if name == b"dpop"]
    proof = shown[0].decode("latin-1") if len(shown) == 1 else ""
    bound = claims.get("cnf")
    held = bound.get("jkt") if isinstance(bound, Mapping) else None
    try:
        asked = ProvenRequest(token, request.method, request.scope["path"], now)
        id = verify_proof(proof, held, asked)
    except InvalidProof as why:
        raise device_refusal(str(why), "invalid_dpop_proof") from None
    account, contact = subject_of(claims, "client_id"), subject_of(claims)
    if account is None or contact is None:
        rule = "`client_id` and `sub` must be 1 to 200 printable characters without spaces"
        raise device_refusal(rule, "invalid_token")
    return Device(account, _person(contact, claims), id)


def device_refusal(why: str, error: str | None) -> Problem:
    """Say that a device has not shown whose it is."""
    return unauthorized(why, error=error, scheme=DEVICES.scheme)


def check_contact(said: Sender, person: Person) -> None:
    """Refuse a submission that names somebody else than its token does."""
    known = {"id": person.address, "email": person.email, "phone": person.phone}
    for name, value in known.items():
        told = getattr(said, name)
        if told is not None and told != value:
            at = f"contact.{name}"
            raise invalid(f"{at} is what the token says", at=at, value=told)


def _person(contact: str, claims: Mapping[str, Any]) -> Person:
    """Read a contact's card from the claims OpenID Connect has for it."""
    names = ("name", "locale", "email", "phone_number")
    name, language, email, phone = (
        text_or_none(claims.get(each), MAX_NAME_CHARS) for each in names
    )
    return Person(contact, name, language and language[:35], email, phone)
