"""Wiring of the notify service."""

import logging

from fastapi import FastAPI

from chassis.app import build
from chassis.messaging.reader import Reader
from chassis.service import Service
from notify import handlers
from notify.api import routes
from notify.configuration import Accounts, group_of
from notify.delivery.dispatcher import MessageDispatcher
from notify.settings import Settings
from notify.transport.egress_policy import EgressPolicy
from notify.webhooks.api import router as webhook_router
from notify.webhooks.dispatcher import WebhookDispatcher
from notify.webhooks.endpoints import Endpoints
from notify.webhooks.planner import DeliveryPlanner


def make(settings: Settings) -> FastAPI:
    """Build the application of one replica."""
    # httpx logs URLs, and those of Telegram contain the bot's token.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    internal_networks = settings.internal_networks

    def readers(service: Service) -> list[Reader]:
        workspaces = service.workspaces
        accounts = Accounts(workspaces, settings.sink_url, settings.sink_smtp)
        endpoints = Endpoints(workspaces, settings.sink_url)
        egress = EgressPolicy(internal_networks)
        resend = settings.unknown_outcome == "resend"
        messages = MessageDispatcher(
            service, accounts, egress, resend=resend, lease=settings.send_lease
        )
        webhooks = WebhookDispatcher(service, endpoints, egress)
        service.state.update(messages=messages, webhooks=webhooks, endpoints=endpoints)
        return handlers.readers(
            handlers.FactHandlers(
                messages.notify_pending,
                DeliveryPlanner(endpoints, webhooks.notify_pending),
                lambda group, topic: group_of(workspaces, group, topic),
                accounts.acknowledgement,
            )
        )

    async def send_messages(service: Service) -> None:
        messages: MessageDispatcher = service.state["messages"]
        await messages.run()

    async def deliver_webhooks(service: Service) -> None:
        webhooks: WebhookDispatcher = service.state["webhooks"]
        await webhooks.run()

    routers = [routes.router, webhook_router]
    tasks = [send_messages, deliver_webhooks]
    return build("notify", settings, readers=readers, routers=routers, tasks=tasks)


app = make(Settings())
