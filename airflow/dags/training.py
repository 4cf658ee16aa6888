"""One training DAG a use case: ingest → validate → split → train → calibrate → evaluate → promote.

Each task is one command of ours, run by the machine-learning interpreter; only the run key goes from task to task.
A use case whose header cannot be read gets a DAG of one task, which fails with the reason.
"""

import os
from itertools import pairwise

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Param

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


def task(step: str, use_case: str, retries: int = 0) -> BashOperator:
    command = f"{os.environ.get('AFORO_COMMAND', 'aforo')} {step} {use_case}"
    return BashOperator(task_id=step, bash_command=command, env=ENVIRONMENT, append_env=True, retries=retries)


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
        for before, after in pairwise([task(step, header.name, header.retries) for step in STEPS]):
            before >> after
for item in broken:
    with DAG(dag_id=f"{item.folder}__broken", description=item.reason, schedule=None, tags=["aforo", "broken"]):
        task("check", item.folder)
