"""sla, put together."""

from chassis.reader import Reader
from chassis.service import Service, build
from sla import api, handlers
from sla.policies import policies_of
from sla.settings import Settings


def readers(service: Service) -> list[Reader]:
    """Hear under the policies of the version each request was opened with."""
    return handlers.readers(lambda version: policies_of(service.workspaces, version))


app = build("sla", Settings(), readers=readers, routers=[api.router])
