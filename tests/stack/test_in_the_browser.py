"""What a person sees in Airflow and MLflow, after logging in with the accounts that were made for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import Browser
from stack_platform import PORTS, Platform

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

STEPS = ("ingest", "validate", "split", "train", "calibrate", "evaluate", "promote")


def test_an_engineer_logs_in_to_airflow_and_sees_the_run_in_the_graph(
    platform: Platform, champion: str, browser: Browser, pictures: Path
) -> None:
    browser.open(f"{platform.url('AIRFLOW')}/dags/{champion}__training")
    browser.type_into("input[name=username]", "admin")
    browser.type_into("input[name=password]", platform.secret("airflow_admin_password"))
    browser.click("input[type=submit], button[type=submit]")
    browser.wait_for(f"{champion}__training", *STEPS)
    with platform.airflow() as airflow:
        # The first one: the run that made the champion.
        runs = airflow.get(f"/api/v2/dags/{champion}__training/dagRuns", params={"order_by": "run_after"}).json()
    browser.open(f"{platform.url('AIRFLOW')}/dags/{champion}__training/runs/{runs['dag_runs'][0]['dag_run_id']}")
    browser.click("button[aria-label*=Graph]")
    browser.find(".react-flow__node")
    page = browser.wait_for(*STEPS)
    browser.picture(pictures / "airflow_graph.png")
    assert page.count("Success") >= len(STEPS)


def test_a_data_scientist_logs_in_to_mlflow_and_sees_the_champion(
    platform: Platform, champion: str, browser: Browser, pictures: Path
) -> None:
    account = f"data-scientist:{platform.secret('mlflow_data_scientist_password')}"
    address = f"https://{account}@localhost:{PORTS['MLFLOW']}"
    browser.open(f"{address}/")
    browser.open(f"{platform.url('MLFLOW')}/#/models/{champion}")
    page = browser.wait_for(champion, "champion")
    browser.picture(pictures / "mlflow_model.png")
    assert "Version 1" in page


def test_a_data_scientist_sees_the_figures_of_the_run(
    platform: Platform, champion: str, browser: Browser, pictures: Path
) -> None:
    with platform.mlflow() as mlflow:
        experiments = mlflow.post("/api/2.0/mlflow/experiments/search", json={"max_results": 100}).json()["experiments"]
        ids = [e["experiment_id"] for e in experiments if e["name"] == champion]
        runs = mlflow.post("/api/2.0/mlflow/runs/search", json={"experiment_ids": ids}).json()["runs"]
    run = next(r for r in runs if not any(t["key"] == "mlflow.parentRunId" for t in r["data"]["tags"]))
    browser.open(f"{platform.url('MLFLOW')}/#/experiments/{ids[0]}/runs/{run['info']['run_id']}")
    page = browser.wait_for(run["info"]["run_name"], "Metrics", "Parameters")
    browser.picture(pictures / "mlflow_run.png")
    assert any(metric["key"] in page for metric in run["data"]["metrics"])


def test_an_application_developer_reads_what_the_model_takes_and_gives(
    platform: Platform, champion: str, browser: Browser, pictures: Path
) -> None:
    browser.open(f"{platform.url('API')}/")
    browser.click("a[href='/docs']")
    page = browser.wait_for("Aforo prediction API", f"/models/{champion}/predict")
    browser.picture(pictures / "api_docs.png")
    assert "POST" in page
