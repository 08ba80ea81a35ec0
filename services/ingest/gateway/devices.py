"""Authenticate customers' devices by a short-lived token bound to the device's key.

The company's own server issues the token to its app. The account, the contact and the contact's
addresses are those of the token; a submission cannot name others.
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
"""Submissions a second of one contact, so that no device exhausts its account's rate limit."""


@dataclass(frozen=True, slots=True)
class Device:
    """The account and the contact of a device, by its token."""

    account: str
    person: Person
    proof: str
    """The id of the proof; a repeated proof is the same submission."""

    def idempotency_key(self, requested: str | None) -> str:
        """Return a submission's idempotency key: the requested one or the proof, per contact."""
        own = f"key {requested}" if requested is not None else f"proof {self.proof}"
        return "sdk:" + sha256(f"{self.person.address}\n{own}".encode()).hexdigest()


async def authenticate_device(request: Request, token: str, now: float) -> Device:
    """Return the device of a token; raises a `Problem` if token or proof are not valid.

    `now` is the unix time in seconds.
    """
    auth: Auth = request.app.state.auth
    claims = await auth.claims(token, DEVICES)
    proofs = [value for name, value in request.scope["headers"] if name == b"dpop"]
    proof = proofs[0].decode("latin-1") if len(proofs) == 1 else ""
    confirmation = claims.get("cnf")
    bound_to = confirmation.get("jkt") if isinstance(confirmation, Mapping) else None
    try:
        proven = ProvenRequest(token, request.method, request.scope["path"], now)
        id = verify_proof(proof, bound_to, proven)
    except InvalidProof as why:
        raise device_refusal(str(why), "invalid_dpop_proof") from None
    account, contact = subject_of(claims, "client_id"), subject_of(claims)
    if account is None or contact is None:
        rule = "`client_id` and `sub` must be 1 to 200 printable characters without spaces"
        raise device_refusal(rule, "invalid_token")
    return Device(account, _person(contact, claims), id)


def device_refusal(detail: str, error: str | None) -> Problem:
    """Return the problem for a device that is not authenticated."""
    return unauthorized(detail, error=error, scheme=DEVICES.scheme)


def check_contact(sender: Sender, person: Person) -> None:
    """Raise `invalid` for a submission whose contact differs from the token's."""
    expected = {"id": person.address, "email": person.email, "phone": person.phone}
    for name, value in expected.items():
        given = getattr(sender, name)
        if given is not None and given != value:
            at = f"contact.{name}"
            raise invalid(f"{at} differs from the token's", at=at, value=given)


def _person(contact: str, claims: Mapping[str, Any]) -> Person:
    """Return the contact, read from the standard claims of OpenID Connect."""
    names = ("name", "locale", "email", "phone_number")
    name, language, email, phone = (
        text_or_none(claims.get(claim), MAX_NAME_CHARS) for claim in names
    )
    return Person(contact, name, language and language[:35], email, phone)
