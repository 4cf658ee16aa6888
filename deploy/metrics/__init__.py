"""Airflow's and PostgreSQL's figures, for Prometheus to scrape."""
