"""Runs in MLflow: one a training, with one nested in it for each candidate.

A step that is tried again goes on with its run instead of starting another: runs are found by their tags.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from aforo.errors import UseCaseError
from aforo.registry.connection import connect, page_of, translated
from aforo.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# Limits of MLflow's own store.
_LONGEST_DIGEST = 36
_LONGEST_PARAM = 6000
_PARAMS_PER_CALL = 100
_METRICS_PER_CALL = 1000

# What kind of experiment MLflow lists it as; it guesses otherwise, from the first run.
_EXPERIMENT = {"mlflow.experimentKind": "custom_model_development"}

ParamValue = str | int | float | bool | None


@dataclass(frozen=True)
class TrackedRun:
    """One run, open for writing.

    Attributes
    ----------
    url
        Its page in MLflow, ``None`` where no server is known.
    """

    run_id: str
    experiment_id: str
    url: str | None
    settings: Settings
    client: MlflowClient

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Record parameters; those that are recorded with the same value already are left alone.

        Raises
        ------
        UseCaseError
            One is recorded with another value: the run key was used before, for another training.
        """
        from mlflow.entities import Param

        texts = {name: "" if value is None else str(value)[:_LONGEST_PARAM] for name, value in params.items()}
        with translated(self.settings):
            recorded = self.client.get_run(self.run_id).data.params
            for name, text in texts.items():
                if recorded.get(name, text) != text:
                    raise UseCaseError(
                        f"run {self.run_id} has {name} = {recorded[name]!r} already, and now {text!r}",
                        hint="use a new run key: what a run was made with does not change",
                    )
            new = [Param(name, text) for name, text in texts.items() if name not in recorded]
            for start in range(0, len(new), _PARAMS_PER_CALL):
                self.client.log_batch(self.run_id, params=new[start : start + _PARAMS_PER_CALL])

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Record figures; those that are not finite are left out: MLflow's stores differ in what they make of them."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        entries = [Metric(name, float(value), now, step) for name, value in metrics.items() if math.isfinite(value)]
        with translated(self.settings):
            for start in range(0, len(entries), _METRICS_PER_CALL):
                self.client.log_batch(self.run_id, metrics=entries[start : start + _METRICS_PER_CALL])

    def set_tags(self, tags: Mapping[str, str | None]) -> None:
        """Set tags; those without a value are left out."""
        from mlflow.entities import RunTag

        entries = [RunTag(name, value) for name, value in tags.items() if value is not None]
        with translated(self.settings):
            self.client.log_batch(self.run_id, tags=entries)

    def tags(self) -> dict[str, str]:
        """Return the tags that are set now."""
        with translated(self.settings):
            return dict(self.client.get_run(self.run_id).data.tags)

    def log_file(self, path: str, data: bytes) -> None:
        """Store ``data`` among the run's artifacts, for example a picture as ``plots/reliability.png``."""
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as temporary, translated(self.settings):
            file = Path(temporary, name)
            file.write_bytes(data)
            self.client.log_artifact(self.run_id, str(file), artifact_path=folder or None)

    def log_dataset(
        self, *, name: str, snapshot_id: str, source: str, schema: Mapping[str, str], rows: int, context: str
    ) -> None:
        """Record the snapshot as an input of the run.

        MLflow's digests have 36 signs at most; the whole snapshot id is a tag of the run, and in the profile.

        Parameters
        ----------
        source
            Address of the snapshot.
        schema
            Column to type.
        context
            What it was used for, for example ``training``.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        columns = [{"name": column, "type": kind, "required": True} for column, kind in schema.items()]
        dataset = Dataset(
            name=name,
            digest=snapshot_id[:_LONGEST_DIGEST],
            source_type=source.partition("://")[0] if "://" in source else "local",
            source=json.dumps({"uri": source}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps({"num_rows": rows, "snapshot_id": snapshot_id}),
        )
        with translated(self.settings):
            self.client.log_inputs(self.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """Close the run. A step that is tried again may open it again."""
        with translated(self.settings):
            self.client.set_terminated(self.run_id, status)


class Tracker:
    """Starts runs, or finds those that were started before.

    Parameters
    ----------
    settings
        Their tracking URI and credentials become MLflow's own in this process.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        with translated(settings):
            self._client = connect(settings)

    def run(self, use_case: str, run_key: str, tags: Mapping[str, str | None]) -> TrackedRun:
        """Return the run of a run key, started now if there is none, open in either case.

        Parameters
        ----------
        tags
            ``snapshot_id``, ``split_digest``, ``code_commit``, ``lock_digest`` ...; ``use_case`` and ``run_key``
            are added.
        """
        identity = {"use_case": use_case, "run_key": run_key, "kind": "training"}
        origin = {
            "mlflow.source.name": f"aforo train {use_case}",
            "mlflow.source.type": "JOB",
            "mlflow.source.git.commit": tags.get("code_commit"),
        }
        return self._open(use_case, run_key, identity, {**tags, **origin})

    def candidate(self, parent: TrackedRun, name: str, tags: Mapping[str, str | None] | None = None) -> TrackedRun:
        """Return the run of a candidate, nested in its training's run."""
        with translated(self._settings):
            of_parent = self._client.get_run(parent.run_id).data.tags
        identity = {
            "use_case": of_parent["use_case"],
            "run_key": of_parent["run_key"],
            "kind": "candidate",
            "candidate": name,
            "mlflow.parentRunId": parent.run_id,
        }
        return self._open(of_parent["use_case"], name, identity, tags or {})

    def reopen(self, run_id: str) -> TrackedRun:
        """Return a run by its id, as a later step does with the id in a manifest."""
        with translated(self._settings):
            return self._tracked(self._client.get_run(run_id))

    def _open(
        self, use_case: str, name: str, identity: Mapping[str, str], tags: Mapping[str, str | None]
    ) -> TrackedRun:
        wanted = {key: value for key, value in {**tags, **identity}.items() if value is not None}
        with translated(self._settings):
            experiment_id = self._experiment(use_case)
            condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items())
            found = self._client.search_runs([experiment_id], condition, max_results=1, order_by=["start_time ASC"])
            if not found:
                return self._tracked(self._client.create_run(experiment_id, run_name=name, tags=wanted))
            run = self._tracked(found[0])
            self._client.update_run(run.run_id, status="RUNNING")
        run.set_tags(wanted)
        return run

    def _tracked(self, run: Run) -> TrackedRun:
        info = run.info
        url = page_of(self._settings, "experiments", info.experiment_id, "runs", info.run_id)
        return TrackedRun(info.run_id, info.experiment_id, url, self._settings, self._client)

    def _experiment(self, name: str) -> str:
        """Return the id of the use case's experiment, made now if there is none."""
        from mlflow.exceptions import MlflowException

        if found := self._client.get_experiment_by_name(name):
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        location = None
        if self._settings.mlflow_tracking_uri.startswith("sqlite:"):
            # A server has a place for artifacts; without one MLflow would put them into the current folder.
            location = (self._settings.home / "mlartifacts" / name).as_uri()
        try:
            return str(self._client.create_experiment(name, artifact_location=location, tags=_EXPERIMENT))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            # Another process made it between the two calls.
            made = self._client.get_experiment_by_name(name)
            if made is None:
                raise
            return str(made.experiment_id)
