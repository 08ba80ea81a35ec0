"""What every schema gets: numbered facts, append-only history, migrations safe to run at once."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from provisioned import Provisioned

from chassis.postgres.locks import KINDS, lock_key
from trunkline.provision import migrate

LOCK = lock_key("say", "sla")
APPEND = "SELECT positions, sequences FROM outbox_append(%s, %s, %s, %s, %s)"


def append(conn: psycopg.Connection, *keys: str) -> tuple[list[int], list[int]]:
    given = (list(keys), [1] * len(keys), ["t"] * len(keys), [b"{}"] * len(keys))
    row = conn.execute(APPEND, (LOCK, *given)).fetchone()
    assert row is not None
    return row


def test_facts_of_a_key_are_numbered_without_gaps(
    provisioned: Provisioned,
) -> None:
    with psycopg.connect(provisioned.dsn("sla"), autocommit=True) as conn:
        positions, first = append(conn, "a", "b", "a", "a")
        _, second = append(conn, "b", "c", "a")
        told = conn.execute(
            "SELECT key FROM outbox WHERE position = ANY(%s) ORDER BY position", (positions,)
        )

        assert first == [1, 1, 2, 3]
        assert second == [2, 1, 4]
        assert [key for (key,) in told] == ["a", "b", "a", "a"]
        assert positions == sorted(positions)


def test_many_writers_leave_no_gap_and_no_late_position(
    provisioned: Provisioned,
) -> None:
    def write(_: int) -> None:
        with psycopg.connect(provisioned.dsn("routing"), autocommit=True) as conn:
            for _ in range(50):
                append(conn, "shared", "other")

    late, last = 0, 0
    with (
        ThreadPoolExecutor(4) as pool,
        psycopg.connect(provisioned.dsn("routing"), autocommit=True) as conn,
    ):
        writers = [pool.submit(write, n) for n in range(4)]
        seen: set[int] = set()
        while not all(w.done() for w in writers):
            found = {p for (p,) in conn.execute("SELECT position FROM outbox").fetchall()}
            late += sum(1 for p in found - seen if p < last)
            seen, last = found, max(found, default=0)
        for writer in writers:
            writer.result()
        sequences = [
            s
            for (s,) in conn.execute("SELECT sequence FROM outbox WHERE key = 'shared' ORDER BY 1")
        ]

    assert sequences == list(range(1, 201))
    assert late == 0


@pytest.mark.parametrize(
    "statement", ["UPDATE outbox SET type = 'x'", "DELETE FROM outbox", "TRUNCATE outbox"]
)
def test_the_service_cannot_change_what_it_has_said(
    provisioned: Provisioned, statement: str
) -> None:
    with psycopg.connect(provisioned.dsn("sla"), autocommit=True) as conn:
        append(conn, "kept")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(statement)


def test_a_regained_right_does_not_help_it_either(provisioned: Provisioned) -> None:
    with psycopg.connect(provisioned.postgres.url, autocommit=True) as admin:
        admin.execute("GRANT UPDATE ON notify.outbox TO notify")
        with psycopg.connect(provisioned.dsn("notify"), autocommit=True) as conn:
            append(conn, "kept")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                conn.execute("UPDATE outbox SET type = 'x'")
        admin.execute("REVOKE UPDATE ON notify.outbox FROM notify")
        repaired = admin.execute("UPDATE notify.outbox SET type = 'repaired' WHERE key = 'kept'")

        assert repaired.rowcount == 1


def test_a_service_with_a_log_of_its_own_gets_no_outbox_table(provisioned: Provisioned) -> None:
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'tickets'"
    with psycopg.connect(provisioned.postgres.url) as admin:
        names = {name for (name,) in admin.execute(tables)}

    assert "outbox" not in names
    assert {"reader_position", "waiting", "parked", "relay_floor", "workspace"} <= names


def test_migrating_at_the_same_time_applies_each_migration_once(provisioned: Provisioned) -> None:
    with psycopg.connect(provisioned.postgres.url, autocommit=True) as admin:
        admin.execute(
            "CREATE ROLE young_owner NOLOGIN; CREATE ROLE young NOLOGIN;"
            " CREATE SCHEMA young AUTHORIZATION young_owner"
        )
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: migrate(provisioned.postgres.url, "young"), range(3)))

    (applied,) = [each for each in done if each]
    assert sorted(applied) == ["0001.chassis", "0002.outbox", "0003.epochs", "0003.outbox_epoch"]
    with psycopg.connect(provisioned.postgres.url) as admin:
        owners = admin.execute(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'young'"
        ).fetchall()
        assert owners == [("young_owner",)]


def test_the_locks_are_signed_64_bit_numbers_and_differ() -> None:
    keys = {lock_key(kind, name) for kind in KINDS for name in ("ingest", "sla")}  # type: ignore[arg-type]

    assert len(keys) == 2 * len(KINDS)
    assert all(-(2**63) <= key < 2**63 for key in keys)
