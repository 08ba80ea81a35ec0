"""ingest, put together."""

from fastapi import FastAPI

from chassis.app import build
from chassis.messaging.reader import Reader
from chassis.service import Service
from chassis.web.asyncapi import Answers
from chassis.web.conventions import BODY, limit_bodies
from chassis.web.parked_api import Token
from ingest.audit.epochs import Epochs
from ingest.bans import api as banning
from ingest.bans import store
from ingest.bans.store import Banlist
from ingest.channels.custom.parser import Said
from ingest.channels.email.parser_pool import Mailroom
from ingest.configuration import Accounts
from ingest.gateway import api, smtp, web_api
from ingest.gateway.endpoints import SCHEMES
from ingest.gateway.envelope import token_of
from ingest.gateway.inbound_ids import Mint
from ingest.gateway.nats import Integrators
from ingest.gateway.receiver import Door
from ingest.gateway.web import Pages
from ingest.intake.handlers import Intake
from ingest.settings import Settings

ASKED = Answers(
    "channels.custom.{integrator}",
    "A message of an integrator's own channel; only its own account can ask here",
    Said.model_json_schema(),
    {"description": "`inbound_id` when it is stored; otherwise a problem document.",
     "type": "object", "properties": {"inbound_id": {"type": "string", "format": "uuid"}}},
)  # fmt: skip


def make(settings: Settings) -> FastAPI:
    """Put one replica together: the door lets in, the intake takes in."""

    def readers(service: Service) -> list[Reader]:
        accounts = Accounts(service.workspaces)
        service.state["door"] = door = Door(service, Mint(settings.mint_key()), accounts)
        service.state["pages"] = Pages(service, accounts, door)
        service.state["integrators"] = Integrators(service, accounts, door)
        service.state["mailbox"] = accounts.mailbox
        service.state["mailroom"] = mailroom = Mailroom()
        service.state["bans"] = bans = Banlist()
        service.health.add("bans", lambda: None if bans.known.version else "not known yet")
        service.state["intake"] = intake = Intake(accounts.rules, mailroom, accounts.post, bans)
        service.state["epochs"] = epochs = Epochs(service, door.marks)
        return intake.readers(epochs.look)

    async def listen(service: Service) -> None:
        integrators: Integrators = service.state["integrators"]
        await integrators.listen()

    async def follow_epochs(service: Service) -> None:
        found: Epochs = service.state["epochs"]
        await found.follow()

    async def take_apart(service: Service) -> None:
        mailroom: Mailroom = service.state["mailroom"]
        await mailroom.open()

    async def wait_no_longer(service: Service) -> None:
        intake: Intake = service.state["intake"]
        await intake.wait_no_longer(service)

    async def receive(service: Service) -> None:
        peers = settings.mail_servers()
        bans: Banlist = service.state["bans"]
        handler = smtp.Handler(
            service.state["door"], service.state["mailbox"], peers, bans.shut_out
        )
        await smtp.listen(handler, settings.host, settings.smtp_port)

    tasks = [listen, follow_epochs, take_apart, store.follow, wait_no_longer]
    tasks += [receive] if settings.smtp_port else []
    app = build(
        "ingest",
        settings,
        readers=readers,
        routers=[api.door, web_api.router, api.router, api.health, banning.router],
        subjects={"channel": Token(2), "account": Token(3, token_of)},
        tasks=tasks,
        answers=[ASKED],
    )
    large = {
        scheme.address.partition("{")[0]: scheme.limit for scheme in SCHEMES if scheme.limit != BODY
    }
    limit_bodies(app, large)
    return app


app = make(Settings())
