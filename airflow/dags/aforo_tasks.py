"""What the DAGs are made of: our commands, run by the machine-learning interpreter, and a person's answer."""

import json
import os

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param

_ANSWER = "(ti.xcom_pull(task_ids='approve') or {})"
# What the one who answered gave; nothing where nobody was asked.
ANSWER = {
    "AFORO_APPROVED_BY": f"{{{{ ({_ANSWER}.get('responded_by_user') or {{}}).get('name', '') }}}}",
    "AFORO_REASON": f"{{{{ ({_ANSWER}.get('params_input') or {{}}).get('reason', '') }}}}",
}


def task(step: str, use_case: str, env: dict[str, str], arguments: str = "", **options) -> BashOperator:
    """Return the task that is one command of ours."""
    command = f"{os.environ.get('AFORO_COMMAND', 'aforo')} {step} {use_case} {arguments}".rstrip()
    return BashOperator(task_id=step, bash_command=command, env=env, append_env=True, **options)


def question(use_case: str, env: dict[str, str], **options) -> BashOperator:
    """Return the task that says what the gate asks, and is skipped where it asks nothing."""
    return task("question", use_case, env, output_processor=json.loads, **options)


def approve(use_case: str) -> ApprovalOperator:
    """Return the task that waits for a person, under *Required Actions*; what follows is skipped if they reject."""
    return ApprovalOperator(
        task_id="approve",
        subject=f"{use_case}: promote version {{{{ ti.xcom_pull(task_ids='question')['model_version'] }}}}?",
        body="{{ ti.xcom_pull(task_ids='question')['body'] }}",
        params={"reason": Param("no reason given", type="string", description="Why; it stands in the ledger")},
    )
