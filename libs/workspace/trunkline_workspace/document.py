"""The workspace: the whole configuration as one document.

Shapes only; `checks` knows what must fit together. Long, because it is one vocabulary.
"""

from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator

from trunkline_workspace.channels import Account, Channel, completed
from trunkline_workspace.values import (
    Id,
    Kept,
    Part,
    Pattern,
    Rate,
    Secret,
    Url,
    Zone,
    days,
    per_second,
    window,
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
Asked = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\??$")]
"""A field's name; with a question mark it may be left out."""


class Defaults(Part):
    """What a request gets when nobody said otherwise."""

    priority: Id
    topic: Id
    type: Id


class Type(Kept):
    """A kind of request: how its statuses follow each other."""

    statuses: Annotated[dict[Id, list[Id]], Field(min_length=1)]
    """Each status, and those that may follow; the first is the one a request begins with."""
    closing: Annotated[list[Id], Field(min_length=1)]
    """Statuses that end processing; closing a request sets the first."""

    @property
    def initial(self) -> str:
        """The status a request begins with."""
        return next(iter(self.statuses))

    def next(self, status: str) -> list[str]:
        """Give the statuses that may follow; none after the end."""
        return self.statuses.get(status, [])

    @property
    def all(self) -> set[str]:
        """Every status there is."""
        return {*self.statuses, *(s for after in self.statuses.values() for s in after)}


class FieldType(Kept):
    """One of the workspace's own fields."""

    kind: Literal["text", "number", "date", "list"]
    pattern: Pattern | None = None
    min: float | None = None
    max: float | None = None
    options: list[str] = []


class TopicFields(Part):
    """Which fields a topic asks for, and when."""

    create: list[Asked] = []
    process: list[Asked] = []
    close: list[Asked] = []


class Topic(Kept):
    """What a request is about, and who answers it."""

    group: Id
    fields: TopicFields = TopicFields()


class Holidays(Part):
    """Days off: a country's public ones, and further dates."""

    country: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    dates: list[date] = []


class Calendar(Part):
    """Working hours in a time zone."""

    timezone: Zone
    week: dict[str, list[str]]
    holidays: Holidays = Holidays()

    def hours(self) -> dict[int, tuple[tuple[int, int], ...]]:
        """Give the hours of each weekday (0 is Monday) in minutes of the day, half-open."""
        return {
            day: tuple(window(text) for text in texts)
            for key, texts in self.week.items()
            for day in days(key)
        }


class Group(Kept):
    """Operators who share a queue, and how it is shared out."""

    operators: list[Id]
    method: Method = "default"
    mode: Literal["auto", "offer", "claim"] = "auto"
    calendar: Id


class Operator(Kept):
    """Who answers: skills by topic (1 to 5; none means all), and how much at a time."""

    name: str | None = Field(default=None, max_length=200)
    email: str | None = Field(default=None, pattern=r"^[^@\s]+@[^@\s]+$")
    skills: dict[Id, Annotated[int, Field(ge=1, le=5)]] = {}
    limit: int = Field(ge=0, le=1000)
    channels: dict[Literal[Channel, "api"], Annotated[int, Field(ge=0, le=1000)]] = {}
    """How many of `limit` may be from one channel."""
    languages: list[Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")]] = []
    quota: int | None = Field(default=None, ge=1)
    """How many different customers a day."""


class Policy(Part):
    """What is promised to which requests."""

    name: Id
    match: dict[Attribute, Id | list[Id]] = {}
    """What a request must be like; the first policy that fits is the one."""
    calendar: Id
    targets: Annotated[dict[Clock, Target], Field(min_length=1)]
    warn: list[Annotated[float, Field(gt=0, lt=1)]] = []
    nrt: Literal["from_first", "restart"] = "from_first"

    def fits(self, about: dict[str, str]) -> bool:
        """Tell whether a request with these attributes is covered."""
        return all(
            about.get(name) in (wanted if isinstance(wanted, list) else [wanted])
            for name, wanted in self.match.items()
        )


class Webhook(Part):
    """Who else is told: `events` are facts' names, `*` for any last part."""

    url: Url
    secret: Secret
    events: Annotated[list[str], Field(min_length=1)]
    ordered: bool = False
    internal: bool = False
    """Whether internal notes are told too."""

    @field_validator("events")
    @classmethod
    def _names(cls, events: list[str]) -> list[str]:
        for event in events:
            parts = event.split(".")
            if parts[0] != "trunkline" or len(parts) != 4 or not all(parts):
                raise ValueError(
                    f"{event!r} names no facts (allowed: such as trunkline.tickets.v1.*)"
                )
        return events


class Subscriber(Part):
    """An internal service: it gets a user and a durable of its own, to read only."""

    streams: Annotated[list[StreamName], Field(min_length=1)]
    filters: list[Annotated[str, Field(pattern=r"^trunkline\.[a-z]+\.[^\s]+$")]] = []


class Mandatory(Part):
    """What nobody can switch off for themselves."""

    channels: list[Literal["bell", "email", "telegram"]] = ["bell"]
    kinds: list[Id] = []


class Notifications(Part):
    """Rules over everybody's preferences."""

    mandatory: Mandatory = Mandatory()


class Limits(Part):
    """How much may come in."""

    per_account: Rate = "1000/s"
    per_visitor: Rate = "60/min"
    """Of one visitor of the pages with forms and widgets, by where they come from."""

    @property
    def per_second(self) -> float:
        """Deliveries a second one account may send."""
        return per_second(self.per_account)


class Retention(Part):
    """How long streams keep what PostgreSQL has for good."""

    inbound: Age = timedelta(days=30)
    streams: Age = timedelta(days=30)


class Workspace(Part):
    """Everything that is configured. A version of it never changes."""

    name: str = Field(min_length=1, max_length=100)
    timezone: Zone = "UTC"
    priorities: Annotated[dict[Id, Weight], Field(min_length=1)]
    """Each priority's weight; heavier is more urgent."""
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
    def _complete(cls, channels: Accounts) -> Accounts:
        return {
            channel: {name: completed(channel, account) for name, account in accounts.items()}
            for channel, accounts in channels.items()
        }

    def topic(self, name: str | None) -> Topic:
        """Give a topic; what nobody knows (any more) is treated as the default one."""
        return self.topics.get(name or "") or self.topics[self.defaults.topic]

    def group_of(self, topic: str | None) -> str:
        """Give the group that answers a topic."""
        return self.topic(topic).group

    def type(self, name: str) -> Type:
        """Give a kind of request."""
        return self.types[name]

    def operator(self, name: str) -> Operator | None:
        """Give an operator, if there is one of this id."""
        return self.operators.get(name)

    def account(self, channel: str, name: str) -> Account | None:
        """Give a channel's account, if it is declared."""
        for declared, accounts in self.channels.items():
            if declared == channel:
                return accounts.get(name)
        return None

    @property
    def integrators(self) -> list[str]:
        """Those who have a channel of their own."""
        return sorted(self.channels.get("custom", {}))

    def policy_for(self, **about: str) -> Policy | None:
        """Give the first policy that covers a request of this type, topic, priority, channel …"""
        return next((policy for policy in self.sla if policy.fits(about)), None)

    def document(self) -> dict[str, object]:
        """Give what was written, as JSON."""
        return self.model_dump(mode="json", exclude_unset=True)
