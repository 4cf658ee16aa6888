"""One training DAG a use case: ingest → validate → split → train → calibrate → evaluate → promote.

Each task is one command of ours; only the run key goes from task to task. Where the gate may leave its verdict to a
person (`gate.ask`), the run waits for their answer before `promote`.
A use case whose header cannot be read gets a DAG of one task, which fails with the reason.
"""

from aforo_tasks import ANSWER, approve, question, task
from airflow.sdk import DAG, Param, chain

from aforo.contracts.catalog import read_headers
from aforo.settings import Settings

STEPS = ("ingest", "validate", "split", "train", "calibrate", "evaluate", "promote")
PARAMS = {
    "seed": Param(None, type=["null", "integer"], minimum=0, description="Empty: the seed in use_case.yaml"),
    "snapshot": Param(None, type=["null", "string"], pattern="^[0-9a-f]{64}$", description="Use this snapshot again"),
    "limit": Param(None, type=["null", "integer"], minimum=1, description="Read only the first rows of the source"),
    "promote": Param(True, type="boolean", description="Make it the champion if the gate agrees"),
    "again": Param(False, type="boolean", description="Train even if nothing changed since the champion"),
}
ENVIRONMENT = {
    "AFORO_RUN_KEY": "{{ run_id }}",
    "AFORO_SEED": "{{ params.seed if params.seed is not none else '' }}",
    "AFORO_SNAPSHOT": "{{ params.snapshot or '' }}",
    "AFORO_LIMIT": "{{ params.limit or '' }}",
    "AFORO_PROMOTE": "{{ params.promote | lower }}",
    "AFORO_AGAIN": "{{ params.again | lower }}",
}

headers, broken = read_headers(Settings.from_environment().use_cases)
for header in headers:
    with DAG(
        dag_id=f"{header.name}__training",
        description=header.title,
        schedule=header.schedule,
        catchup=False,
        max_active_runs=1,
        default_args={"owner": header.owner},
        params=PARAMS,
        tags=["aforo", "training"],
    ):
        environment = ENVIRONMENT | (ANSWER if header.asks else {})
        *before, promote = (task(step, header.name, environment, retries=header.retries) for step in STEPS)
        chain(*before, promote)
        if header.asks:
            promote.trigger_rule = "none_failed_min_one_success"
            before[-1] >> question(header.name, ENVIRONMENT, retries=header.retries) >> approve(header.name) >> promote
for item in broken:
    with DAG(dag_id=f"{item.folder}__broken", description=item.reason, schedule=None, tags=["aforo", "broken"]):
        task("check", item.folder, {})
