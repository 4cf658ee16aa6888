"""From a clean clone to a prediction, through the published ports alone, as the three people who use it."""

from __future__ import annotations

import json

import httpx
import pytest
from stack_platform import (
    COMMIT,
    FINISHED,
    ONE_SHOTS,
    PORTS,
    Memory,
    Platform,
    figures,
    in_words,
    memory_of,
    wait_for,
)

pytestmark = [pytest.mark.stack, pytest.mark.timeout(2400)]

# All of them: with fewer the gate rightly finds too little between the candidate and the baseline.
ROWS = 336_776


@pytest.fixture(scope="module")
def flights(platform: Platform, request: pytest.FixtureRequest) -> str:
    """The run id of a training on the flights, beside which the one of breast_cancer begins."""
    run = platform.trigger("flight_delay", limit=ROWS)
    wait_for(lambda: platform.tasks_of("flight_delay", run)["train"]["state"] == "running", 600, "training to start")
    request.getfixturevalue("first_run")
    peak: Memory = {}
    while platform.state_of("flight_delay", run) not in FINISHED:
        peak = {name: max(peak.get(name, now), now) for name, now in memory_of(platform).items()}
    figures["memory while flights train, MiB"] = in_words(peak)
    platform.finish("flight_delay", run)
    tasks = platform.tasks_of("flight_delay", run)
    figures["flight_delay, s"] = ", ".join(f"{name} {tasks[name]['duration'] or 0:.0f}" for name in tasks)
    return run


def test_every_service_is_healthy_and_every_one_shot_done(platform: Platform) -> None:
    for name, container in platform.containers().items():
        if name in ONE_SHOTS:
            assert (container["State"], container["ExitCode"]) == ("exited", 0), name
        else:
            assert container["Health"] == "healthy", name


def test_starting_what_runs_changes_nothing_and_says_where_to_look(platform: Platform) -> None:
    before = {name: item["ID"] for name, item in platform.containers().items() if name not in ONE_SHOTS}
    said = platform.run("make", "up").stdout
    assert {name: item["ID"] for name, item in platform.containers().items() if name not in ONE_SHOTS} == before
    for service in PORTS:
        assert platform.url(service) in said


def test_the_doctor_finds_nothing_wrong(platform: Platform) -> None:
    answer = platform.operate("doctor", check=False)
    assert answer.returncode == 0, answer.stdout


def test_an_engineer_sees_a_dag_for_each_use_case(platform: Platform) -> None:
    with platform.airflow() as airflow:
        dags = airflow.get("/api/v2/dags").json()["dags"]
        broken = airflow.get("/api/v2/importErrors").json()["import_errors"]
    folders = (platform.folder / "services" / "use_cases").glob("*/use_case.yaml")
    assert {f"{path.parent.name}__training" for path in folders} <= {dag["dag_id"] for dag in dags}
    assert broken == []


def test_a_viewer_can_look_and_start_nothing(platform: Platform) -> None:
    with platform.airflow("viewer") as airflow:
        assert airflow.get("/api/v2/dags").status_code == 200
        answer = airflow.post("/api/v2/dags/flight_delay__training/dagRuns", json={"logical_date": None})
    assert answer.status_code == 403


def test_flights_are_ingested_trained_judged_and_promoted(platform: Platform, flights: str) -> None:
    states = {name: task["state"] for name, task in platform.tasks_of("flight_delay", flights).items()}
    assert states == dict.fromkeys(
        ("ingest", "validate", "split", "train", "calibrate", "evaluate", "promote"), "success"
    )


def test_the_log_of_a_task_can_be_read_in_airflow(platform: Platform, flights: str) -> None:
    assert str(ROWS) in platform.log_of("flight_delay", flights, "ingest").replace(",", "")


def test_a_data_scientist_finds_run_plots_and_champion_in_mlflow(platform: Platform, flights: str) -> None:
    with platform.mlflow() as mlflow:
        ids = [e["experiment_id"] for e in search(mlflow, "experiments") if e["name"] == "flight_delay"]
        runs = search(mlflow, "runs", experiment_ids=ids)
        parent = next(run for run in runs if any(tag["key"] == "run_key" for tag in run["data"]["tags"]))
        run_id = parent["info"]["run_id"]
        version = mlflow.get(
            "/api/2.0/mlflow/registered-models/alias", params={"name": "flight_delay", "alias": "champion"}
        )
        files = pictures(mlflow, run_id)
    assert parent["data"]["metrics"]
    assert parent["data"]["params"]
    assert version.status_code == 200, version.text
    assert files


def test_a_data_scientist_cannot_delete_what_airflow_made(platform: Platform, champion: str) -> None:
    with platform.mlflow() as mlflow:
        answer = mlflow.request("DELETE", "/api/2.0/mlflow/registered-models/delete", json={"name": champion})
    assert answer.status_code == 403


def test_mlflow_refuses_who_does_not_log_in(platform: Platform) -> None:
    with platform.client("MLFLOW") as mlflow:
        assert mlflow.post("/api/2.0/mlflow/experiments/search", json={"max_results": 1}).status_code == 401


def test_mlflow_refuses_another_host_name(platform: Platform) -> None:
    with platform.mlflow() as mlflow:
        answer = mlflow.post(
            "/api/2.0/mlflow/experiments/search", json={"max_results": 1}, headers={"Host": "elsewhere.example"}
        )
    assert answer.status_code == 403


def test_an_application_gets_a_prediction(platform: Platform, champion: str) -> None:
    with platform.api() as api:
        answer = api.post(f"/models/{champion}/predict", json=example_of(api, champion))
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == champion


def test_the_champion_of_the_flights_is_served(platform: Platform, flights: str) -> None:
    with platform.api() as api:
        wait_for(lambda: "champion" in api.get("/models/flight_delay").json()["live"], 60, "the champion to be served")
        answer = api.post("/models/flight_delay/predict", json=example_of(api, "flight_delay"))
    assert answer.status_code == 200, answer.text


def test_a_version_says_which_commit_its_image_was_built_from(platform: Platform, champion: str) -> None:
    with platform.api() as api:
        described = api.get(f"/models/{champion}").json()["champion"]
    assert described["lineage"]["code_commit"] == COMMIT


def test_retention_finds_nothing_to_remove_on_a_platform_of_today(platform: Platform, flights: str) -> None:
    said = platform.compose("exec", "-T", "airflow-scheduler", "/opt/aforo/bin/aforo", "prune", "--dry-run", "--json")
    plan = json.loads(said)
    assert plan["removals"] == []
    assert plan["kept"] > 0


def test_the_api_refuses_who_has_no_key(platform: Platform, champion: str) -> None:
    with platform.client("API") as api:
        answer = api.post(f"/models/{champion}/predict", json={"rows": [{}]})
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_the_start_page_leads_to_every_application(platform: Platform) -> None:
    with platform.client("API") as api:
        page = api.get("/").text
    for name in ("Prediction API", "Airflow", "MLflow", "Object store"):
        assert name in page


def test_pages_carry_the_security_headers(platform: Platform) -> None:
    for service in ("API", "AIRFLOW", "MLFLOW"):
        with platform.client(service) as client:
            headers = client.get("/").headers
        assert headers["x-content-type-options"] == "nosniff", service
        assert headers["x-frame-options"] == "SAMEORIGIN", service


def test_figures_of_airflow_and_postgres_can_be_scraped(platform: Platform, champion: str) -> None:
    program = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9102/metrics').read().decode())"
    text = platform.compose("exec", "-T", "metrics", "python", "-c", program)
    assert "postgres_up 1" in text
    assert f'airflow_task_duration_seconds_count{{dag="{champion}__training",task="train"}}' in text


def search(mlflow: httpx.Client, what: str, **arguments: object) -> list[dict]:  # type: ignore[type-arg]
    answer = mlflow.post(f"/api/2.0/mlflow/{what}/search", json={"max_results": 100, **arguments})
    assert answer.status_code == 200, answer.text
    return list(answer.json().get(what, []))


def pictures(mlflow: httpx.Client, run_id: str, path: str = "") -> list[str]:
    answer = mlflow.get("/api/2.0/mlflow/artifacts/list", params={"run_id": run_id, "path": path}).json()
    found = []
    for file in answer.get("files", []):
        if file["is_dir"]:
            found += pictures(mlflow, run_id, file["path"])
        elif file["path"].endswith(".png"):
            found.append(file["path"])
    return found


def example_of(api: httpx.Client, model: str) -> dict[str, object]:
    """Return the example request that the API's own OpenAPI page gives for the model."""
    page = json.loads(api.get("/openapi.json").text)
    operation = page["paths"][f"/models/{model}/predict"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    example = content.get("example") or next(iter(content["examples"].values()))["value"]
    return dict(example)
