"""Give each service a database and a role of its own in PostgreSQL.

Runs before the services, as often as wanted: what is there stays, passwords become those in the secret
files. The superuser is reached through the socket that this container shares with the server.
"""

from __future__ import annotations

from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection, encrypt_password

SECRETS = Path("/run/secrets")
OWNERS = ("airflow", "mlflow", "mlflow_auth", "aforo", "events")
METRICS = "metrics"


def main() -> None:
    database = connect("postgres")
    for role in (*OWNERS, METRICS):
        make_role(database, role)
    for owner in OWNERS:
        make_database(database, owner)
        close_public_schema(owner)
    with database.cursor() as cursor:
        cursor.execute(sql.SQL("GRANT pg_monitor TO {}").format(sql.Identifier(METRICS)))
        cursor.execute("REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC")
        cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE postgres TO {}").format(sql.Identifier(METRICS)))
    print(f"databases ready: {', '.join(OWNERS)}")


def connect(name: str) -> connection:
    database = psycopg2.connect(host="/var/run/postgresql", user="postgres", dbname=name)
    database.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    return database


def password_of(role: str) -> str:
    """Return the password in the role's libpq password file: its last field."""
    return (SECRETS / f"postgres_{role}").read_text(encoding="utf-8").strip().rsplit(":", 1)[1]


def make_role(database: connection, role: str) -> None:
    # Encrypted here, so that the password itself never reaches the server or its log.
    verifier = encrypt_password(password_of(role), role, scope=database, algorithm="scram-sha-256")
    with database.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
        if cursor.fetchone() is None:
            cursor.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        cursor.execute(
            sql.SQL("ALTER ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD {}").format(
                sql.Identifier(role), sql.Literal(verifier)
            )
        )


def make_database(database: connection, owner: str) -> None:
    with database.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (owner,))
        if cursor.fetchone() is None:
            cursor.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(sql.Identifier(owner)))
        cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(owner)))


def close_public_schema(owner: str) -> None:
    with connect(owner).cursor() as cursor:
        cursor.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        cursor.execute(sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(owner)))


if __name__ == "__main__":
    main()
