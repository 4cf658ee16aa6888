"""Bring MLflow's two databases up to date, and make its accounts.

Runs before the server, as often as wanted: passwords become those in the secret files.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.db.utils import _initialize_tables, _upgrade_db

SECRETS = Path("/run/secrets")
TRACKING = "postgresql+psycopg2://mlflow@postgres/mlflow?passfile=/run/secrets/postgres_mlflow"
ACCOUNTS = "postgresql+psycopg2://mlflow_auth@postgres/mlflow_auth?passfile=/run/secrets/postgres_mlflow_auth"
USERS = {"admin": True, "airflow": False, "prediction-api": False, "data-scientist": False}
"""Account names, and whether each is an administrator. All others read everything, and manage what they make."""


def main() -> None:
    migrate()
    store = SqlAlchemyStore()
    store.init_db(ACCOUNTS)
    for name, is_admin in USERS.items():
        password = (SECRETS / f"mlflow_{name.replace('-', '_')}_password").read_text(encoding="utf-8").strip()
        if not store.has_user(name):
            store.create_user(name, password, is_admin=is_admin)
        elif not store.authenticate_user(name, password):
            store.update_user(name, password=password)
    print(f"mlflow ready: {', '.join(USERS)}")


def migrate() -> None:
    engine = sqlalchemy.create_engine(TRACKING)
    if sqlalchemy.inspect(engine).has_table("experiments"):
        _upgrade_db(engine)
    else:
        _initialize_tables(engine)


if __name__ == "__main__":
    main()
