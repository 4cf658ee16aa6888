"""PostgreSQL's own statistics as Prometheus samples: one query each, read at every scrape."""

from __future__ import annotations

import psycopg2

ADDRESS = (
    "host=postgres dbname=postgres user=metrics passfile=/run/secrets/postgres_metrics"
    " connect_timeout=5 options='-c statement_timeout=5000'"
)
# name, kind, labels, query; a query gives its labels first and its value last
QUERIES = (
    ("postgres_connections", "gauge", ("database", "state"),
     "SELECT coalesce(datname, ''), coalesce(state, ''), count(*) FROM pg_stat_activity GROUP BY 1, 2"),
    ("postgres_connections_allowed", "gauge", (), "SELECT setting FROM pg_settings WHERE name = 'max_connections'"),
    ("postgres_database_size_bytes", "gauge", ("database",),
     "SELECT datname, pg_database_size(datname) FROM pg_database WHERE NOT datistemplate"),
    ("postgres_transactions_committed_total", "counter", ("database",),
     "SELECT datname, xact_commit FROM pg_stat_database WHERE datname IS NOT NULL"),
    ("postgres_transactions_rolled_back_total", "counter", ("database",),
     "SELECT datname, xact_rollback FROM pg_stat_database WHERE datname IS NOT NULL"),
    ("postgres_deadlocks_total", "counter", ("database",),
     "SELECT datname, deadlocks FROM pg_stat_database WHERE datname IS NOT NULL"),
    ("postgres_blocks_read_total", "counter", ("database",),
     "SELECT datname, blks_read FROM pg_stat_database WHERE datname IS NOT NULL"),
    ("postgres_blocks_hit_total", "counter", ("database",),
     "SELECT datname, blks_hit FROM pg_stat_database WHERE datname IS NOT NULL"),
    ("postgres_temporary_bytes_total", "counter", ("database",),
     "SELECT datname, temp_bytes FROM pg_stat_database WHERE datname IS NOT NULL"),
    ("postgres_longest_transaction_seconds", "gauge", (),
     "SELECT coalesce(max(extract(epoch FROM now() - xact_start)), 0) FROM pg_stat_activity"
     " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"),
)  # fmt: skip


def text() -> str:
    """Return everything in Prometheus's text format; ``postgres_up`` alone where the server does not answer."""
    try:
        lines = read()
    except psycopg2.Error:
        return "# TYPE postgres_up gauge\npostgres_up 0\n"
    return "\n".join(["# TYPE postgres_up gauge", "postgres_up 1", *lines]) + "\n"


def read() -> list[str]:
    database = psycopg2.connect(ADDRESS)
    try:
        lines = []
        with database.cursor() as cursor:
            for name, kind, labels, query in QUERIES:
                cursor.execute(query)
                lines.append(f"# TYPE {name} {kind}")
                for *keys, value in cursor.fetchall():
                    shown = ",".join(f'{label}="{key}"' for label, key in zip(labels, keys, strict=True))
                    lines.append(f"{name}{{{shown}}} {float(value)!r}" if shown else f"{name} {float(value)!r}")
        return lines
    finally:
        database.close()
