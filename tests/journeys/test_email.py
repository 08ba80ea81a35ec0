"""The story by mail: in over SMTP and HTTP, answered, and the answer's answer finds its request."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage
from email.utils import make_msgid
from typing import TYPE_CHECKING, Any

from desk import soon

if TYPE_CHECKING:
    from desk import Desk

SUPPORT = "support@example.test"


def mail(author: str, text: str, subject: str = "Where is my order?", **headers: str) -> Any:
    written = EmailMessage()
    written["From"] = f"Iryna <{author}>"
    written["To"] = SUPPORT
    written["Subject"] = subject
    written["Message-ID"] = make_msgid(domain="mail.example.test")
    for name, value in headers.items():
        written[name.replace("_", "-")] = value
    written.set_content(text)
    return written


def by_smtp(desk: Desk, written: EmailMessage) -> str:
    """Deliver as a mail server does; gives the inbound id."""
    with smtplib.SMTP("127.0.0.1", desk.base + 25, timeout=10) as server:
        server.ehlo()
        server.mail(written["From"].addresses[0].addr_spec)
        assert server.rcpt(SUPPORT)[0] == 250
        code, answer = server.data(written.as_bytes())
    assert code == 250, answer
    return answer.decode().split()[-1]


def by_http(desk: Desk, written: EmailMessage, secret: str | None = None) -> Any:
    head = {
        "Content-Type": "message/rfc822",
        "X-Trunkline-Secret": secret or desk.secrets["EMAIL_MAIN_SECRET"],
    }
    url = desk.url("ingest", "/channels/email/main")
    return desk.http.post(url, content=written.as_bytes(), headers=head)


def received(desk: Desk, to: str, number: int) -> list[dict[str, Any]]:
    def all_of_them() -> list[dict[str, Any]]:
        url = desk.url("sink", f"/sent?channel=email&to={to}")
        items: list[dict[str, Any]] = desk.http.get(url).json()["items"]
        assert len(items) == number
        return items

    return soon(all_of_them)


def test_a_mail_from_the_door_to_the_answers_answer(desk: Desk) -> None:
    iryna = "iryna.mail@example.test"
    desk.online("anna", "bohdan", "olena")
    question = mail(iryna, "It should be here by now.")
    outcome = desk.settled(by_smtp(desk, question))
    assert (outcome["outcome"], outcome["threaded_by"]) == ("opened", "new")
    request_id = outcome["request_id"]
    request = soon(lambda: desk.request(request_id))
    assert (request["channel"], request["title"]) == ("email", "Where is my order?")
    assert request["contact"]["address"] == iryna
    assignee = soon(lambda: desk.request(request_id)["assignee"])

    path = f"/v1/requests/{request_id}/reply"
    answered = desk.tell("tickets", path, {"text": "Вже їде."}, who=assignee)
    assert answered.status_code < 300, answered.text
    [item] = received(desk, iryna, 1)
    headers = item["headers"]
    assert item["text"] == "Вже їде."
    assert headers["Subject"] == "Re: Where is my order?"
    assert headers["From"] == SUPPORT
    assert headers["In-Reply-To"] == headers["References"] == question["Message-ID"]

    thanks = mail(iryna, "Thanks!", "something else", In_Reply_To=headers["Message-ID"])
    appended = desk.settled(by_http(desk, thanks).json()["inbound_id"])
    assert (appended["outcome"], appended["request_id"]) == ("appended", request_id)
    assert appended["threaded_by"] == "our_message_id"

    away = mail(iryna, "away", In_Reply_To=headers["Message-ID"], Auto_Submitted="auto-replied")
    assert desk.settled(by_http(desk, away).json()["inbound_id"])["outcome"] == "noted"
    duplicate = desk.settled(by_smtp(desk, question))
    assert (duplicate["outcome"], duplicate["request_id"]) == ("duplicate", request_id)

    again = desk.tell("tickets", path, {"text": "You are welcome."}, who=assignee)
    assert again.status_code < 300, again.text
    last = received(desk, iryna, 2)[-1]["headers"]
    assert last["In-Reply-To"] == thanks["Message-ID"]
    assert headers["Message-ID"] in last["References"].split()

    audit = desk.run("audit", check=False)
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_two_requests_opened_for_one_customer_stay_apart(desk: Desk) -> None:
    maria = "maria.out@example.test"

    def opened(address: str) -> str:
        body = {"description": "We looked into it.", "contact": {"email": address}}
        told = desk.tell("tickets", "/v1/requests", body)
        assert told.status_code == 201, told.text
        return str(told.json()["id"])

    def tell(verb: str, request_id: str, **body: str) -> None:
        path = f"/v1/requests/{request_id}/{verb}"
        told = desk.tell("tickets", path, body, role="supervisor", who="boss")
        assert told.status_code < 300, told.text

    def answer(letter: Any, text: str) -> tuple[str, str, str]:
        written = mail(maria, text, In_Reply_To=letter["Message-ID"])
        written.replace_header("To", letter["Reply-To"])
        told = desk.settled(by_http(desk, written).json()["inbound_id"])
        assert told["reason"] is None
        return told["outcome"], told["request_id"], told["threaded_by"]

    letters: dict[str, Any] = {}
    for number, request_id in enumerate((opened("Maria.Out@Example.test"), opened(maria)), 1):
        tell("reply", request_id, text="Is it there?")
        letters[request_id] = received(desk, maria, number)[-1]["headers"]
    first, second = letters

    for request_id, letter in letters.items():
        assert answer(letter, "Yes.") == ("appended", request_id, "reply_address")
    tell("close", first, resolution="done")
    assert answer(letters[second], "And now?") == ("appended", second, "reply_address")

    # Opened as a follow-up, or appended before intake had heard of the end, and then returned.
    answer(letters[first], "Not this one.")

    def follow_ups() -> list[Any]:
        listed = desk.ask("tickets", "/v1/requests?limit=200")["items"]
        return [each for each in listed if each["follow_up_of"] == first]

    assert len(soon(follow_ups)) == 1


def test_mail_over_http_needs_the_secret(desk: Desk) -> None:
    written = mail("petro.mail@example.test", "hello")
    assert by_http(desk, written, secret="wrong").status_code == 401
    accepted = by_http(desk, written)
    assert accepted.status_code == 202
    assert desk.settled(accepted.json()["inbound_id"])["outcome"] == "opened"


def test_the_status_says_where_the_sink_takes_mail(desk: Desk) -> None:
    assert desk.status["sink"]["smtp"] == f"smtp://127.0.0.1:{desk.base + 26}"
