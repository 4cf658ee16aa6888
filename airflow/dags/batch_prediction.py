"""One batch prediction DAG a use case: files of any size through a registered version, in one task.

The task is one command of ours, ``aforo predict``. It writes its output in parts, and the manifest last; a task that is
tried again, by Airflow or by a person, goes on at the first part that is missing, with the version it began with.
"""

from aforo_tasks import task
from airflow.sdk import DAG, Param

from aforo.contracts.catalog import read_headers
from aforo.settings import Settings

WORD = {"type": "string", "pattern": r"^\S+$"}  # lists go into the environment with blanks between
PARAMS = {
    "input": Param(type="string", minLength=1, description="Path, glob or s3:// URL of .parquet or .csv files"),
    "output": Param(type="string", minLength=1, description="Folder or s3:// prefix; empty, or begun by the same job"),
    "version": Param("champion", type="string", minLength=1, description="Number or alias of the version"),
    "events": Param([], type="array", items=WORD, description="Files of events for the model's windows, one a line"),
    "keep": Param([], type="array", items=WORD, description="Columns of the input to copy to the output, one a line"),
    "max_bad_rows": Param(0, type="integer", minimum=0, description="Rows that may break the contract"),
}
ENVIRONMENT = {
    "AFORO_INPUT": "{{ params.input }}",
    "AFORO_OUTPUT": "{{ params.output }}",
    "AFORO_VERSION": "{{ params.version }}",
    "AFORO_EVENTS": "{{ params.events | join(' ') }}",
    "AFORO_KEEP": "{{ params.keep | join(' ') }}",
    "AFORO_MAX_BAD_ROWS": "{{ params.max_bad_rows }}",
}

headers, _ = read_headers(Settings.from_environment().use_cases)  # training.py shows those that are broken
for header in headers:
    with DAG(
        dag_id=f"{header.name}__batch_prediction",
        description=f"{header.title} For each row of a table.",
        schedule=None,
        catchup=False,
        max_active_runs=1,
        default_args={"owner": header.owner},
        params=PARAMS,
        tags=["aforo", "batch prediction"],
    ):
        task("predict", header.name, ENVIRONMENT, retries=header.retries)
