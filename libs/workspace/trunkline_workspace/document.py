"""The sections of the workspace document. `checks` has the rules across sections."""

from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator

from trunkline_workspace.channels import Account, Channel, with_default_api_base
from trunkline_workspace.values import (
    Id,
    Part,
    Pattern,
    Rate,
    Retirable,
    Secret,
    Url,
    Zone,
    parse_hours,
    parse_weekdays,
)

Weight = Annotated[int, Field(ge=0, le=1_000_000)]
Target = Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=366))]
Age = Annotated[timedelta, Field(ge=timedelta(hours=1), le=timedelta(days=3660))]
Clock = Literal["FRT", "NRT", "TTR", "TIS", "ACCEPT"]
Attribute = Literal["type", "topic", "priority", "channel", "account", "group"]
Method = Literal["default", "by_number_of_dialogs", "by_date_of_last_dialog", "longest_idle"]
StreamName = Literal["INGEST", "ROUTING", "TICKETS", "SLA", "NOTIFY"]
Accounts = dict[Channel, dict[Id, Account]]
UserName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,47}$")]
FieldReference = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\??$")]
"""The name of a field; a question mark at the end makes it optional."""


class Defaults(Part):
    """Values of a request for which nothing else is given."""

    priority: Id
    topic: Id
    type: Id


class Type(Retirable):
    """A type of request and the order of its statuses."""

    statuses: Annotated[dict[Id, list[Id]], Field(min_length=1)]
    """Each status with its possible next statuses; a request starts with the first one."""
    closing: Annotated[list[Id], Field(min_length=1)]
    """Statuses that end the work; closing a request sets the first one."""

    @property
    def initial(self) -> str:
        """The status of a new request."""
        return next(iter(self.statuses))

    @property
    def all_statuses(self) -> set[str]:
        """Every status, the closing ones included."""
        return {*self.statuses, *(s for following in self.statuses.values() for s in following)}


class FieldType(Retirable):
    """A field of requests that the workspace defines."""

    kind: Literal["text", "number", "date", "list"]
    pattern: Pattern | None = None
    min: float | None = None
    max: float | None = None
    options: list[str] = []


class TopicFields(Part):
    """Fields that a topic requires, by phase of the request."""

    create: list[FieldReference] = []
    process: list[FieldReference] = []
    close: list[FieldReference] = []


class Topic(Retirable):
    """A subject of requests, with the group that serves it and the fields it requires."""

    group: Id
    fields: TopicFields = TopicFields()


class Holidays(Part):
    """Days without business hours: public holidays of a country, and single dates."""

    country: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    dates: list[date] = []


class Calendar(Part):
    """Business hours in a time zone."""

    timezone: Zone
    week: dict[str, list[str]]
    holidays: Holidays = Holidays()

    def hours(self) -> dict[int, tuple[tuple[int, int], ...]]:
        """Return the hours of each weekday (0 is Monday) as half-open spans of minutes."""
        return {
            day: tuple(parse_hours(text) for text in texts)
            for key, texts in self.week.items()
            for day in parse_weekdays(key)
        }


class Group(Retirable):
    """A skill group: operators who share a queue, and how requests are assigned."""

    operators: list[Id]
    method: Method = "default"
    mode: Literal["auto", "offer", "claim"] = "auto"
    calendar: Id


class Operator(Retirable):
    """An operator: skills by topic (1 to 5; none means every topic) and limits."""

    name: str | None = Field(default=None, max_length=200)
    email: str | None = Field(default=None, pattern=r"^[^@\s]+@[^@\s]+$")
    skills: dict[Id, Annotated[int, Field(ge=1, le=5)]] = {}
    limit: int = Field(ge=0, le=1000)
    channels: dict[Literal[Channel, "api"], Annotated[int, Field(ge=0, le=1000)]] = {}
    """Requests of one channel at a time, within `limit`."""
    languages: list[Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")]] = []
    quota: int | None = Field(default=None, ge=1)
    """Different customers per day."""


class Policy(Part):
    """An SLA policy: the promised times of the requests it matches."""

    name: Id
    match: dict[Attribute, Id | list[Id]] = {}
    """The attributes of a request the policy is for; the first matching policy applies."""
    calendar: Id
    targets: Annotated[dict[Clock, Target], Field(min_length=1)]
    warn: list[Annotated[float, Field(gt=0, lt=1)]] = []
    nrt: Literal["from_first", "restart"] = "from_first"


class Webhook(Part):
    """An endpoint that facts are sent to; `events` are names of facts, with `*` as last part."""

    url: Url
    secret: Secret
    events: Annotated[list[str], Field(min_length=1)]
    ordered: bool = False
    internal: bool = False
    """Send internal notes too."""

    @field_validator("events")
    @classmethod
    def _check_names(cls, events: list[str]) -> list[str]:
        for event in events:
            parts = event.split(".")
            if parts[0] != "trunkline" or len(parts) != 4 or not all(parts):
                raise ValueError(
                    f"{event!r} is not a name of facts (allowed: such as trunkline.tickets.v1.*)"
                )
        return events


class Subscriber(Part):
    """An internal service that reads streams, with a NATS user and a durable of its own."""

    streams: Annotated[list[StreamName], Field(min_length=1)]
    filters: list[Annotated[str, Field(pattern=r"^trunkline\.[a-z]+\.[^\s]+$")]] = []


class Mandatory(Part):
    """Notifications that operators cannot switch off."""

    channels: list[Literal["bell", "email", "telegram"]] = ["bell"]
    kinds: list[Id] = []


class Notifications(Part):
    """Rules that take precedence over operators' preferences."""

    mandatory: Mandatory = Mandatory()


class Limits(Part):
    """Rate limits of incoming messages."""

    per_account: Rate = "1000/s"
    per_visitor: Rate = "60/min"
    """Of one network address that uses forms and widgets."""


class Retention(Part):
    """The age up to which streams keep messages; PostgreSQL keeps them permanently."""

    inbound: Age = timedelta(days=30)
    streams: Age = timedelta(days=30)


class Workspace(Part):
    """The whole configuration. A version of it never changes."""

    name: str = Field(min_length=1, max_length=100)
    timezone: Zone = "UTC"
    priorities: Annotated[dict[Id, Weight], Field(min_length=1)]
    """The weight of each priority; a higher weight is more urgent."""
    defaults: Defaults
    types: Annotated[dict[Id, Type], Field(min_length=1)]
    fields: dict[Id, FieldType] = {}
    topics: Annotated[dict[Id, Topic], Field(min_length=1)]
    calendars: dict[Id, Calendar]
    groups: Annotated[dict[Id, Group], Field(min_length=1)]
    operators: dict[Id, Operator]
    sla: list[Policy] = []
    channels: Accounts = {}
    webhooks: dict[Id, Webhook] = {}
    subscribers: dict[UserName, Subscriber] = {}
    notifications: Notifications = Notifications()
    limits: Limits = Limits()
    retention: Retention = Retention()

    @field_validator("channels")
    @classmethod
    def _fill_defaults(cls, channels: Accounts) -> Accounts:
        return {
            channel: {
                name: with_default_api_base(channel, account) for name, account in accounts.items()
            }
            for channel, accounts in channels.items()
        }

    def group_of(self, topic: str | None) -> str:
        """Return the group that serves a topic; an unknown topic has the default topic's group."""
        return (self.topics.get(topic or "") or self.topics[self.defaults.topic]).group

    def account(self, channel: str, name: str) -> Account | None:
        """Return an account of a channel, or None."""
        for declared, accounts in self.channels.items():
            if declared == channel:
                return accounts.get(name)
        return None

    @property
    def integrators(self) -> list[str]:
        """The accounts of the channel `custom`, sorted."""
        return sorted(self.channels.get("custom", {}))

    def document(self) -> dict[str, object]:
        """Return the document as it was written, without defaults, for JSON."""
        return self.model_dump(mode="json", exclude_unset=True)
