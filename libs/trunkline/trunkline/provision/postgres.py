"""Provision roles and schemas: an owner without login and a restricted role per service."""

import asyncio
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from chassis.postgres.locks import lock_key
from trunkline.provision.migrating import migrate
from trunkline.provision.plan import Limits, Plan

Conn = psycopg.Connection

ROLE_EXISTS = "SELECT 1 FROM pg_roles WHERE rolname = %s"

REVOKE_PUBLIC = (
    "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
)

CREATE_SCHEMA = (
    "GRANT CONNECT ON DATABASE {database} TO {role}",
    "CREATE SCHEMA IF NOT EXISTS {role} AUTHORIZATION {owner}",
    "REVOKE ALL ON SCHEMA {role} FROM PUBLIC",
    "GRANT USAGE ON SCHEMA {role} TO {role}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {role}"
    " GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {role}"
    " GRANT USAGE, SELECT ON SEQUENCES TO {role}",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {role}"
    " GRANT EXECUTE ON FUNCTIONS TO {role}",
)

ALTER_LOGIN = (
    "ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
    " NOINHERIT CONNECTION LIMIT {connections} PASSWORD {password}"
)


def service_dsn(admin_dsn: str, creds: Path, service: str) -> str:
    """Return the address with which a service connects to the same database as itself."""
    password = (creds / f"{service}.pg").read_text(encoding="ascii").strip()
    return make_conninfo(admin_dsn, user=service, password=password, application_name=service)


async def provision_postgres(admin_dsn: str, creds: Path, plan: Plan) -> list[str]:
    """Create or correct roles, schemas and tables; return the migrations as `service/name`."""
    return await asyncio.to_thread(_provision, admin_dsn, creds, plan)


def _provision(admin_dsn: str, creds: Path, plan: Plan) -> list[str]:
    applied: list[str] = []
    with psycopg.connect(admin_dsn, autocommit=True, connect_timeout=10) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (lock_key("provision", "*"),))
        database = sql.Identifier(conn.info.dbname)
        for statement in REVOKE_PUBLIC:
            conn.execute(sql.SQL(statement).format(database=database))
        for name, service in plan.services.items():
            password = (creds / f"{name}.pg").read_text(encoding="ascii").strip()
            _provision_role(conn, name, password, plan.database)
            migrations = migrate(admin_dsn, name, outbox=service.outbox)
            applied += [f"{name}/{migration}" for migration in migrations]
    return applied


def _provision_role(conn: Conn, name: str, password: str, limits: Limits) -> None:
    role, owner = sql.Identifier(name), sql.Identifier(f"{name}_owner")
    for role_name in (name, f"{name}_owner"):
        if conn.execute(ROLE_EXISTS, (role_name,)).fetchone() is None:
            conn.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role_name)))
    conn.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(owner))
    verifier = conn.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
    conn.execute(
        sql.SQL(ALTER_LOGIN).format(
            role=role,
            connections=sql.Literal(limits.connections),
            password=sql.Literal(verifier.decode()),
        )
    )
    for setting, value in _settings(name, limits).items():
        conn.execute(
            sql.SQL("ALTER ROLE {} SET {} TO {}").format(role, sql.Identifier(setting), value)
        )
    for statement in CREATE_SCHEMA:
        names = {"database": sql.Identifier(conn.info.dbname), "role": role, "owner": owner}
        conn.execute(sql.SQL(statement).format(**names))


def _settings(name: str, limits: Limits) -> dict[str, sql.Composable]:
    timeouts = limits.model_dump(exclude={"connections"})
    return {
        "search_path": sql.Identifier(name),
        "timezone": sql.Literal("UTC"),
        **{setting: sql.Literal(value) for setting, value in timeouts.items()},
    }
