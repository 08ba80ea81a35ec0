"""ingest, put together."""

from fastapi import FastAPI

from chassis.app import build
from chassis.messaging.reader import Reader
from chassis.service import Service
from chassis.web.asyncapi import RequestReply
from chassis.web.conventions import MAX_BODY_BYTES, limit_bodies
from chassis.web.parked_api import SubjectToken
from ingest.audit.epochs import Epochs
from ingest.bans import api as banning
from ingest.bans import store
from ingest.bans.store import BanCache
from ingest.channels.custom.parser import CustomMessage
from ingest.channels.email.parser_pool import ParserPool
from ingest.configuration import IngestConfiguration
from ingest.envelope import token_of
from ingest.gateway import api, smtp, web_api
from ingest.gateway.endpoints import SCHEMES
from ingest.gateway.inbound_ids import Mint
from ingest.gateway.nats import Integrators
from ingest.gateway.receiver import Door
from ingest.gateway.web import Pages
from ingest.intake.handlers import IntakeHandlers
from ingest.settings import Settings

ASKED = RequestReply(
    "channels.custom.{integrator}",
    "A message of an integrator's own channel; only its own account can ask here",
    CustomMessage.model_json_schema(),
    {"description": "`inbound_id` when it is stored; otherwise a problem document.",
     "type": "object", "properties": {"inbound_id": {"type": "string", "format": "uuid"}}},
)  # fmt: skip


def make(settings: Settings) -> FastAPI:
    """Put one replica together: the door lets in, the intake takes in."""

    def readers(service: Service) -> list[Reader]:
        accounts = IngestConfiguration(service.workspaces)
        service.state["door"] = door = Door(service, Mint(settings.mint_key()), accounts)
        service.state["pages"] = Pages(service, accounts, door)
        service.state["integrators"] = Integrators(service, accounts, door)
        service.state["mailbox"] = accounts.account_for_address
        service.state["mailroom"] = mailroom = ParserPool()
        service.state["bans"] = bans = BanCache()
        service.health.add("bans", lambda: None if bans.current.version else "not known yet")
        service.state["intake"] = intake = IntakeHandlers(
            accounts.rules, mailroom, accounts.mailbox, bans
        )
        service.state["epochs"] = epochs = Epochs(service, door.marks)
        return intake.readers(epochs.look)

    async def listen(service: Service) -> None:
        integrators: Integrators = service.state["integrators"]
        await integrators.listen()

    async def follow_epochs(service: Service) -> None:
        found: Epochs = service.state["epochs"]
        await found.follow()

    async def take_apart(service: Service) -> None:
        mailroom: ParserPool = service.state["mailroom"]
        await mailroom.open()

    async def wait_no_longer(service: Service) -> None:
        intake: IntakeHandlers = service.state["intake"]
        await intake.run_expiry(service)

    async def receive(service: Service) -> None:
        peers = settings.mail_servers()
        bans: BanCache = service.state["bans"]
        handler = smtp.Handler(
            service.state["door"], service.state["mailbox"], peers, bans.blocks_host
        )
        await smtp.listen(handler, settings.host, settings.smtp_port)

    tasks = [listen, follow_epochs, take_apart, store.follow, wait_no_longer]
    tasks += [receive] if settings.smtp_port else []
    app = build(
        "ingest",
        settings,
        readers=readers,
        routers=[api.door, web_api.router, api.router, api.health, banning.router],
        subjects={"channel": SubjectToken(2), "account": SubjectToken(3, token_of)},
        tasks=tasks,
        answers=[ASKED],
    )
    large = {
        scheme.address.partition("{")[0]: scheme.limit
        for scheme in SCHEMES
        if scheme.limit != MAX_BODY_BYTES
    }
    limit_bodies(app, large)
    return app


app = make(Settings())
