"""How hearing a fact can end, besides well."""

import asyncio

import nats.errors
import psycopg
from psycopg_pool import PoolClosed


class Refused(Exception):
    """The rules forbid it: asking again will not help."""


class TooLarge(Refused):
    """What follows from it is more than one message can carry."""


class NotReady(Exception):
    """Something it needs is away: asking again later may help."""


PERMANENT_DB_ERRORS = (
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.StatementTooComplex,
    psycopg.errors.TooManyColumns,
    psycopg.errors.TooManyArguments,
    psycopg.errors.CardinalityViolation,
)
"""What a value makes PostgreSQL refuse every time, by whatever class psycopg files it under."""


class StaleLeader(Exception):
    """Somebody else has moved on from here: this replica's view is stale."""


TRANSIENT = (
    NotReady,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.ProgrammingError,  # a missing grant or table is not the fact's fault
    psycopg.InternalError,
    PoolClosed,
    nats.errors.Error,
    OSError,
    asyncio.TimeoutError,
)
"""What says nothing about the fact at hand: the reader stops, waits and tries the same again."""


def is_transient(why: BaseException) -> bool:
    """Whether the same may go well later."""
    return isinstance(why, TRANSIENT) and not isinstance(why, PERMANENT_DB_ERRORS)
