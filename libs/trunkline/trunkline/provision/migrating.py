"""Apply SQL migrations with yoyo as the owner of the schema, each in one transaction."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any
from uuid import uuid1

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI

from chassis.postgres.locks import lock_key

TABLE = "_yoyo_migration"
INTERNALS = (TABLE, "_yoyo_log", "_yoyo_version", "yoyo_lock")
EVERY_SERVICE, OUTBOX = "package:chassis:migrations/every", "package:chassis:migrations/outbox"


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo is untyped
    """The backend of yoyo without its lookups of the user and the host name."""

    def get_log_data(self, migration: Any = None, operation: str = "apply") -> dict[str, object]:
        """Return the log entry of a migration, in UTC."""
        return {
            "id": str(uuid1()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": "provision",
            "hostname": "-",
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }


def sources(service: str, outbox: str = "table") -> list[str]:
    """Return the migration folders of a service: those of the chassis, then its own."""
    own = [EVERY_SERVICE, OUTBOX] if outbox == "table" else [EVERY_SERVICE]
    try:
        has_migrations = resources.files(service).joinpath("migrations").is_dir()
    except ModuleNotFoundError:
        has_migrations = False
    return [*own, f"package:{service}:migrations"] if has_migrations else own


def migrate(admin_dsn: str, service: str, *, outbox: str = "table") -> list[str]:
    """Apply the pending migrations of a service and return their names; may run concurrently."""
    stages = [read_migrations(source) for source in sources(service, outbox)]
    with psycopg.connect(admin_dsn, autocommit=True) as guard:
        guard.execute("SELECT pg_advisory_lock(%s)", (lock_key("migrate", service),))
        with _Backend(_address(admin_dsn, service), TABLE) as backend:
            backend.init_database()
            names = [name for stage in stages for name in _apply(backend, stage)]
            _keep_internals_private(guard, service)
    return names


def _apply(backend: _Backend, stage: Any) -> list[str]:
    pending = backend.to_apply(stage)
    names = [migration.id for migration in pending]
    backend.apply_migrations(pending)
    if unapplied := [migration.id for migration in backend.to_apply(stage)]:
        raise RuntimeError(f"migrations that could not be read: {unapplied}")
    return names


def _address(admin_dsn: str, service: str) -> Any:
    """Return the address for the administrator acting as the owner of the service's schema."""
    parts: Mapping[str, Any] = conninfo_to_dict(admin_dsn)
    rest = {k: str(v) for k, v in parts.items() if k not in _URI_PARTS}
    options = f"{rest.pop('options', '')} -c role={service}_owner -c statement_timeout=0".strip()
    return DatabaseURI(
        scheme="postgresql+psycopg",
        username=parts.get("user"),
        password=parts.get("password"),
        hostname=parts.get("host"),
        port=parts.get("port"),
        database=parts.get("dbname"),
        args={**rest, "options": options, "schema": f'"{service}"'},
    )


_URI_PARTS = {"user", "password", "host", "port", "dbname"}


def _keep_internals_private(conn: psycopg.Connection, service: str) -> None:
    for table in INTERNALS:
        conn.execute(
            sql.SQL("REVOKE ALL ON {} FROM {}").format(
                sql.Identifier(service, table), sql.Identifier(service)
            )
        )
