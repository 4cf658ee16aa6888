"""One DAG a use case that holds what its champion answered against batch and training code on the same rows."""

from aforo_tasks import task
from airflow.sdk import DAG, Param

from aforo.contracts.catalog import read_headers
from aforo.settings import Settings

PARAMS = {
    "version": Param("champion", type="string", pattern="^[a-z0-9_]{1,64}$", description="Number or alias"),
    "rows": Param(10_000, type="integer", minimum=1, maximum=1_000_000, description="The last so many recorded rows"),
}
ARGUMENTS = "--version {{ params.version }} --rows {{ params.rows }}"

for header in read_headers(Settings.from_environment().use_cases)[0]:
    with DAG(
        dag_id=f"{header.name}__parity",
        description=f"Do service, batch and training code agree? {header.title}",
        schedule=None,
        catchup=False,
        default_args={"owner": header.owner},
        params=PARAMS,
        tags=["aforo", "parity"],
    ):
        task("parity", header.name, {}, ARGUMENTS, retries=header.retries)
