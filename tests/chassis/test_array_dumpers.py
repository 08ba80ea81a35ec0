"""A column arrives as psycopg itself would have sent it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest

from chassis.postgres.array_dumpers import ARRAY_ADAPTERS

if TYPE_CHECKING:
    from trunkline.servers import Postgres


class Colour(StrEnum):
    RED = "red"


EAST = timezone(timedelta(hours=5, minutes=30))
CASES: list[tuple[str, list[Any]]] = [
    ("text", ["a", "", "null", 'q"\\,{}', "Привіт 🦊", None]),
    ("bytea", [b"", b"\0\xff", None]),
    ("uuid", [UUID(int=0), uuid4(), UUID(int=2**128 - 1)]),
    ("bool", [True, False, None]),
    ("smallint", [0, -1, 32767, None]),
    ("int", [0, -(2**31), 2**31 - 1]),
    ("bigint", [0, -(2**63), 2**63 - 1]),
    ("float8", [0.0, -1.5, 1e300, None]),
    ("timestamptz", [datetime(2026, 11, 25, 9, 0, 0, 7, UTC), None]),
    ("timestamptz", [datetime(1969, 7, 20, 20, 17, 40, 999_999, EAST)]),
    ("timestamptz", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]),
    ("uuid", []),
    ("uuid", [None, None]),
    ("timestamptz", [None]),
    ("text", [Colour.RED]),
    ("int", [[1, 2], [3, 4]]),
]


async def _sent(cluster: Postgres, context: Any, type_: str, values: list[Any]) -> Any:
    connect = psycopg.AsyncConnection.connect
    async with await connect(cluster.url, autocommit=True, context=context) as conn:
        await conn.execute("SET timezone = 'UTC'")
        query = f"SELECT (%b::{type_}[])::text, cardinality(%b::{type_}[])".encode()
        return await (await conn.execute(query, (values, values), prepare=True)).fetchone()


@pytest.mark.parametrize(("type_", "values"), CASES)
async def test_it_arrives_as_it_would_have(
    cluster: Postgres, type_: str, values: list[Any]
) -> None:
    assert await _sent(cluster, ARRAY_ADAPTERS, type_, values) == await _sent(
        cluster, None, type_, values
    )


@pytest.mark.parametrize(
    ("type_", "values"),
    [("bigint", [2**63]), ("int", [2**31]), ("timestamptz", [datetime(2026, 1, 1)])],  # noqa: DTZ001
    ids=["too large", "too large for its type", "no zone"],
)
async def test_what_does_not_fit_is_refused_as_data(
    cluster: Postgres, type_: str, values: list[Any]
) -> None:
    with pytest.raises(psycopg.DataError):
        await _sent(cluster, ARRAY_ADAPTERS, type_, values)


async def test_statement_takes_columns_of_another_kind_next(cluster: Postgres) -> None:
    async with await psycopg.AsyncConnection.connect(
        cluster.url, autocommit=True, context=ARRAY_ADAPTERS
    ) as conn:
        for values in ([1], [None], [], [2, None], [2**40]):
            cursor = await conn.execute("SELECT %b::bigint[]", (values,), prepare=True)
            assert await cursor.fetchone() == (values,)
