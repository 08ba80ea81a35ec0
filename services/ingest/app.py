"""The ingest service, wired together."""

from fastapi import FastAPI

from chassis.app import build
from chassis.messaging.reader import Reader
from chassis.service import Service
from chassis.web.asyncapi import RequestReply
from chassis.web.conventions import MAX_BODY_BYTES, limit_bodies
from chassis.web.parked_api import SubjectToken
from ingest.audit import api as audit_api
from ingest.audit.epochs import Epochs
from ingest.bans import api as bans_api
from ingest.bans import store
from ingest.bans.store import BanCache
from ingest.channels.custom.parser import CustomMessage
from ingest.channels.email.parser_pool import ParserPool
from ingest.configuration import IngestConfiguration
from ingest.envelope import account_token
from ingest.gateway import api as gateway_api
from ingest.gateway import smtp, web_api
from ingest.gateway.endpoints import ENDPOINTS
from ingest.gateway.inbound_ids import InboundIdIssuer
from ingest.gateway.nats import NatsReceiver
from ingest.gateway.receiver import Receiver
from ingest.gateway.web import WebReceiver
from ingest.intake.handlers import IntakeHandlers
from ingest.settings import Settings

CUSTOM_MESSAGES = RequestReply(
    "channels.custom.{integrator}",
    "A message of an integrator's own channel; only the integrator's NATS account may publish it",
    CustomMessage.model_json_schema(),
    {"description": "`inbound_id` when it is stored; otherwise a problem document.",
     "type": "object", "properties": {"inbound_id": {"type": "string", "format": "uuid"}}},
)  # fmt: skip


def make(settings: Settings) -> FastAPI:
    """Return the app of one replica: the gateway stores deliveries, the intake processes them."""

    def readers(service: Service) -> list[Reader]:
        return create_components(service, settings)

    async def serve_smtp(service: Service) -> None:
        bans: BanCache = service.state["bans"]
        handler = smtp.SmtpHandler(
            service.state["receiver"],
            service.state["account_for_address"],
            settings.mail_servers(),
            bans.blocks_host,
        )
        await smtp.listen(handler, settings.host, settings.smtp_port)

    tasks = [serve_nats, follow_epochs, run_parser_pool, store.follow, run_expiry]
    tasks += [serve_smtp] if settings.smtp_port else []
    app = build(
        "ingest",
        settings,
        readers=readers,
        routers=[
            gateway_api.gateway_router(),
            web_api.router,
            audit_api.router,
            gateway_api.health,
            bans_api.router,
        ],
        subjects={"channel": SubjectToken(2), "account": SubjectToken(3, account_token)},
        tasks=tasks,
        answers=[CUSTOM_MESSAGES],
    )
    limits = {
        endpoint.path.partition("{")[0]: endpoint.max_body_bytes
        for endpoint in ENDPOINTS
        if endpoint.max_body_bytes != MAX_BODY_BYTES
    }
    limit_bodies(app, limits)
    return app


def create_components(service: Service, settings: Settings) -> list[Reader]:
    """Create the components of a replica, and return its readers."""
    accounts = IngestConfiguration(service.workspaces)
    inbound_ids = InboundIdIssuer(settings.inbound_id_key())
    receiver = Receiver(service, inbound_ids, accounts)
    parser_pool, bans = ParserPool(), BanCache()
    intake = IntakeHandlers(accounts.rules, parser_pool, accounts.mailbox, bans)
    epochs = Epochs(service, receiver.marks)
    service.state |= {
        "is_issued": inbound_ids.is_issued,
        "receiver": receiver,
        "web_receiver": WebReceiver(service, accounts, receiver),
        "nats_receiver": NatsReceiver(service, accounts, receiver),
        "account_for_address": accounts.account_for_address,
        "parser_pool": parser_pool,
        "bans": bans,
        "intake": intake,
        "epochs": epochs,
    }
    service.health.add("bans", lambda: None if bans.current.version else "not known yet")
    return intake.readers(epochs.check)


async def serve_nats(service: Service) -> None:
    """Receive integrators' messages over NATS."""
    receiver: NatsReceiver = service.state["nats_receiver"]
    await receiver.listen()


async def follow_epochs(service: Service) -> None:
    """Check whether INBOUND was set back."""
    epochs: Epochs = service.state["epochs"]
    await epochs.follow()


async def run_parser_pool(service: Service) -> None:
    """Run the processes that parse mails."""
    parser_pool: ParserPool = service.state["parser_pool"]
    await parser_pool.open()


async def run_expiry(service: Service) -> None:
    """Expire message updates whose message did not arrive."""
    intake: IntakeHandlers = service.state["intake"]
    await intake.run_expiry(service)


app = make(Settings())
