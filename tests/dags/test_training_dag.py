"""The training DAGs, as the real Airflow reads them."""

from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "airflow" / "dags"
STEPS = ["ingest", "validate", "split", "train", "calibrate", "evaluate", "promote"]


def test_the_dag_files_load_without_an_error(described):
    assert described["errors"] == {}


def test_the_dag_files_import_no_learning_library(described):
    assert described["ml"] == []


def test_a_training_dag_runs_the_steps_one_after_the_other(described):
    dag = described["dags"]["flights__training"]
    assert dag["tasks"] == STEPS
    assert dag["downstream"] == {a: [b] for a, b in pairwise(STEPS)} | {"promote": []}


def test_each_task_is_one_command_of_ours(described):
    commands = described["dags"]["flights__training"]["commands"]
    assert commands == {step: f"aforo {step} flights" for step in STEPS}


def test_where_the_gate_may_ask_the_run_waits_for_a_person_before_it_promotes(described):
    dag = described["dags"]["asking__training"]
    assert dag["commands"]["question"] == "aforo question asking"
    assert dag["commands"]["approve"] is None
    assert dag["downstream"]["evaluate"] == ["promote", "question"]
    assert (dag["downstream"]["question"], dag["downstream"]["approve"]) == (["approve"], ["promote"])
    # Nobody was asked: the last two before it are skipped. Nothing was judged: all three are.
    assert dag["trigger_rules"]["promote"] == "none_failed_min_one_success"
    assert {dag["trigger_rules"][step] for step in dag["tasks"] if step != "promote"} == {"all_success"}


def test_the_header_sets_schedule_and_retries(described):
    dag = described["dags"]["flights__training"]
    assert dag["retries"] == [3] * len(STEPS)
    assert "daily" in dag["schedule"]


def test_the_form_offers_seed_snapshot_sample_and_promotion(described):
    assert described["dags"]["flights__training"]["params"] == ["again", "limit", "promote", "seed", "snapshot"]


def test_the_form_says_what_may_be_filled_in(described):
    form = described["dags"]["flights__training"]["form"]
    assert {name: field["type"] for name, field in form.items()} == {
        "seed": ["null", "integer"],
        "snapshot": ["null", "string"],
        "limit": ["null", "integer"],
        "promote": "boolean",
        "again": "boolean",
    }
    assert form["snapshot"]["pattern"] == "^[0-9a-f]{64}$"
    assert all(field["description"] for field in form.values())


def test_the_dag_file_stays_a_declaration():
    assert len((DAGS / "training.py").read_text(encoding="utf-8").splitlines()) < 60


def test_the_parity_dag_is_one_command_with_the_values_of_its_form(described):
    dag = described["dags"]["flights__parity"]
    arguments = "--version {{ params.version }} --rows {{ params.rows }}"
    assert dag["commands"] == {"parity": f"aforo parity flights {arguments}"}
    # What goes into a command line is bound by the form: a name or a number, and nothing a shell would act on.
    assert dag["form"]["version"]["pattern"] == "^[a-z0-9_]{1,64}$"
    assert dag["form"]["rows"]["type"] == "integer"
    assert dag["retries"] == [3]


def test_a_broken_use_case_gets_a_dag_that_says_so(described):
    assert described["dags"]["broken__broken"]["commands"] == {"check": "aforo check broken"}


def test_every_shipped_use_case_has_a_training_dag(shipped):
    names = {path.parent.name for path in (ROOT / "services" / "use_cases").glob("*/use_case.yaml")}
    assert names
    assert {f"{name}__training" for name in names} <= set(shipped["dags"])
    assert not [dag_id for dag_id in shipped["dags"] if dag_id.endswith("__broken")]
