"""The batch prediction DAGs, as the real Airflow reads them."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "airflow" / "dags"


def test_it_is_one_command_of_ours(described):
    dag = described["dags"]["flights__batch_prediction"]
    assert dag["commands"] == {"predict": "aforo predict flights"}


def test_it_runs_when_it_is_asked_to_and_is_tried_again_as_the_header_says(described):
    dag = described["dags"]["flights__batch_prediction"]
    assert (dag["schedule"], dag["retries"]) == ("None", [3])


def test_the_form_asks_for_input_and_output_and_has_the_rest_filled_in(described):
    form = described["dags"]["flights__batch_prediction"]["form"]
    assert {name: field["type"] for name, field in form.items()} == {
        "input": "string",
        "output": "string",
        "version": "string",
        "events": "array",
        "keep": "array",
        "max_bad_rows": "integer",
    }
    assert form["input"]["minLength"] == form["output"]["minLength"] == 1
    assert all(field["description"] for field in form.values())


def test_every_shipped_use_case_has_one_and_a_broken_one_has_none(described, shipped):
    names = {path.parent.name for path in (ROOT / "services" / "use_cases").glob("*/use_case.yaml")}
    assert {f"{name}__batch_prediction" for name in names} <= set(shipped["dags"])
    assert [dag_id for dag_id in described["dags"] if dag_id.startswith("broken")] == ["broken__broken"]


def test_the_dag_file_stays_a_declaration():
    assert len((DAGS / "batch_prediction.py").read_text(encoding="utf-8").splitlines()) < 60
