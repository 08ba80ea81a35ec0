"""Senders: one function for each channel, which makes one attempt and returns its outcome.

A platform's response is untrusted: reads are bounded, redirects are not followed, and a response
that cannot be understood leaves the outcome unknown. No reason contains an address or a token.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from notify.delivery.queue import ClaimedMessage
from notify.domain.outcomes import Outcome, Refused, Retry, Sent, Unknown, requested_wait
from notify.domain.retry import CREDENTIAL_PAUSE_S
from notify.transport import smtp
from notify.transport.custom import RESPONSE_TIMEOUT_S, custom
from notify.transport.http_client import HttpResponse
from notify.transport.http_post import ATTEMPT_TIMEOUT_S, Account, SendFunction, Transport, post
from trunkline_contracts.chats import TelegramChat


async def telegram(transport: Transport, account: Account, attempt: ClaimedMessage) -> Outcome:
    """Send with the Bot API's sendMessage, into the conversation the customer wrote in."""
    url = f"{account.base}/bot{account.token}/sendMessage"
    there = TelegramChat.from_name(attempt.chat)
    body = {"chat_id": _chat_id(there.chat), "text": attempt.text, **_position_in_chat(there)}
    headers = {"Idempotency-Key": str(attempt.message_id)}
    response = await post(transport, account, url, orjson.dumps(body), headers)
    if not isinstance(response, HttpResponse):
        return response
    outcome = telegram_outcome(response.status, response.body)
    if isinstance(outcome, Retry) and outcome.chat is not None:
        return replace(outcome, chat=there._replace(chat=outcome.chat).name)
    return outcome


def _position_in_chat(chat: TelegramChat) -> dict[str, str | int]:
    """Return the parameters of a place in a chat (core.telegram.org/bots/api#sendmessage)."""
    parameters = {
        "business_connection_id": chat.business,
        "message_thread_id": chat.topic,
        "direct_messages_topic_id": chat.direct,
    }
    return {key: value for key, value in parameters.items() if value is not None}


SENDERS: Mapping[str, SendFunction] = {"custom": custom, "email": smtp.email, "telegram": telegram}
"""The sender of each channel."""

ATTEMPT_TIMEOUTS_S: Mapping[str, float] = {
    "custom": RESPONSE_TIMEOUT_S,
    "email": smtp.SESSION_TIMEOUT_S,
}
"""Seconds an attempt may take on channels that differ from `ATTEMPT_TIMEOUT_S`."""


def attempt_timeout(channel: str) -> float:
    """Return the seconds an attempt on this channel may take."""
    return ATTEMPT_TIMEOUTS_S.get(channel, ATTEMPT_TIMEOUT_S)


PULL_CHANNELS = frozenset({"api"})
"""Channels whose customers read their replies over the API: nothing is sent."""


def initial_state(channel: str) -> tuple[str, str | None]:
    """Return the state and the reason with which a reply on this channel is recorded."""
    if channel in SENDERS:
        return "intended", None
    if channel in PULL_CHANNELS:
        return "sent", "the customer reads it over the API"
    return "suppressed", f"channel {channel} has no sender"


def telegram_outcome(status: int, body: bytes) -> Outcome:
    """Return the outcome of a response; a 200 may contain an error."""
    document = _object(body)
    code = status
    if status == 200:
        if document.get("ok") is True:
            return _telegram_sent(document)
        given = document.get("error_code")
        if document.get("ok") is not False or (code := _int64(given) or 0) not in range(100, 600):
            return Unknown("the answer could not be understood")
    return _telegram_error(code, document)


def _telegram_sent(document: dict[str, Any]) -> Outcome:
    result = document.get("result")
    number = result.get("message_id") if isinstance(result, dict) else None
    if _int64(number) is not None:
        return Sent(str(number))
    return Unknown("taken, but the answer names no message")


def _telegram_error(code: int, document: dict[str, Any]) -> Outcome:
    extra = document.get("parameters")
    parameters: dict[str, Any] = extra if isinstance(extra, dict) else {}
    match code:
        case 429:
            wait = requested_wait(parameters.get("retry_after"))
            return Retry("too many requests", wait, account_suspended=wait is not None)
        case 400 if (moved := _int64(parameters.get("migrate_to_chat_id"))) is not None:
            return Retry("the chat has moved", 0.0, chat=str(moved))
        case 401 | 404 | 301 | 302 | 303 | 307 | 308:
            return Retry(
                f"credential or address refused ({code})",
                CREDENTIAL_PAUSE_S,
                account_suspended=True,
            )
        case 502 | 504:
            return Unknown(f"a gateway answered {code}", possibly_accepted=False)
        case 408 | 425:
            return Retry(f"answered {code}")
        case _:
            lasting = 400 <= code < 500
            return Refused(f"refused ({code})") if lasting else Retry(f"answered {code}")


def _int64(value: object) -> int | None:
    """Return a whole number of at most 64 bits, as Telegram's are; None for anything else."""
    number = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return value if isinstance(value, int) and number else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _chat_id(chat: str) -> int | str:
    """Return a chat id as Telegram expects it: a number, or the name of a public chat."""
    return int(chat) if chat.lstrip("-").isdecimal() else chat
