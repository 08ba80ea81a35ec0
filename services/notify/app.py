"""notify, put together."""

import logging

from fastapi import FastAPI

from chassis.app import build
from chassis.messaging.reader import Reader
from chassis.service import Service
from notify import handlers
from notify.api import routes
from notify.configuration import Accounts
from notify.delivery.dispatcher import MessageDispatcher
from notify.domain.recipients import Group
from notify.settings import Settings
from notify.transport.egress_policy import EgressPolicy
from notify.webhooks.api import router as webhooks
from notify.webhooks.dispatcher import WebhookDispatcher
from notify.webhooks.endpoints import Endpoints
from notify.webhooks.planner import DeliveryPlanner


def make(settings: Settings) -> FastAPI:
    """Put one replica together: its readers intend, its sender sends."""
    # httpx's lines hold addresses, and those hold tokens
    logging.getLogger("httpx").setLevel(logging.WARNING)
    inside = settings.internal_networks

    def readers(service: Service) -> list[Reader]:
        accounts = Accounts(service.workspaces, settings.sink_url, settings.sink_smtp)
        resend = settings.unknown_outcome == "resend"
        outward = EgressPolicy(inside)
        sender = MessageDispatcher(
            service, accounts, outward, resend=resend, lease=settings.send_lease
        )
        service.state["sender"] = sender
        endpoints = Endpoints(service.workspaces, settings.sink_url)
        courier = WebhookDispatcher(service, endpoints, outward)
        service.state.update(endpoints=endpoints, courier=courier)

        def group_of(group: str | None, topic: str) -> Group:
            document = service.workspaces.current
            name = group or document.group_of(topic)
            declared = document.groups.get(name)
            return Group(name, () if declared is None else declared.operators)

        intake = DeliveryPlanner(endpoints, courier.notify_pending)
        desk = handlers.FactHandlers(
            sender.notify_pending, intake, group_of, accounts.acknowledgement
        )
        return handlers.readers(desk)

    async def send(service: Service) -> None:
        sender: MessageDispatcher = service.state["sender"]
        await sender.run()

    async def hand_over(service: Service) -> None:
        courier: WebhookDispatcher = service.state["courier"]
        await courier.run()

    routers = [routes.router, webhooks]
    return build("notify", settings, readers=readers, routers=routers, tasks=[send, hand_over])


app = make(Settings())
