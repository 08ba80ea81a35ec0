"""Errors of applying a message: refused for good, or to be retried."""

import asyncio

import nats.errors
import psycopg
from psycopg_pool import PoolClosed


class Refused(Exception):
    """The rules forbid it: a retry has the same result."""


class TooLarge(Refused):
    """The result is larger than one message can carry."""


class NotReady(Exception):
    """A dependency is not available: a later retry may succeed."""


PERMANENT_DB_ERRORS = (
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.StatementTooComplex,
    psycopg.errors.TooManyColumns,
    psycopg.errors.TooManyArguments,
    psycopg.errors.CardinalityViolation,
)
"""Errors that the same value causes on every retry, although psycopg groups them with others."""


class StaleLeader(Exception):
    """Another replica leads and has moved on: this replica's state is stale."""


TRANSIENT = (
    NotReady,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.ProgrammingError,  # a missing grant or table is not the message's fault
    psycopg.InternalError,
    PoolClosed,
    nats.errors.Error,
    OSError,
    asyncio.TimeoutError,
)
"""Errors unrelated to the message: the reader backs off and retries it."""


def is_transient(why: BaseException) -> bool:
    """Return whether a retry of the same may succeed."""
    return isinstance(why, TRANSIENT) and not isinstance(why, PERMANENT_DB_ERRORS)
