"""The platform without Docker: Airflow and MLflow on SQLite, everything else in one folder."""
