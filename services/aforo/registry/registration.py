"""A bundle becomes a version of a registered model, loadable with ``mlflow.pyfunc.load_model``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from aforo.contracts.prediction import BundleManifest, GoldenRows, PredictionContract, Scalar
from aforo.contracts.table import ColumnContract
from aforo.registry.bundle import GOLDEN, GRAPH, MANIFEST
from aforo.registry.connection import translated
from aforo.registry.tracking import TrackedRun
from aforo.registry.versions import BUNDLE_PATH, CHALLENGER, RegisteredVersion, Versions

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

LOADER = "aforo.registry.pyfunc"

_EXAMPLE_ROWS = 3
_TYPES = {"string": "string", "integer": "long", "number": "double", "boolean": "boolean"}


def register_version(
    versions: Versions, folder: Path, *, run: TrackedRun, verdict: str, description: str = ""
) -> RegisteredVersion:
    """Register the bundle in ``folder`` as the next version of its use case, and call it ``challenger``.

    A bundle that its run has registered before is not registered again. Costs about half a second.

    Parameters
    ----------
    folder
        A folder called ``bundle``, as :func:`aforo.registry.bundle.write_bundle` wrote it.
    verdict
        The gate's verdict; ``promote`` lets a version become champion, and so does ``ask`` if a person says so.
    description
        Put above the table of figures.
    """
    manifest_bytes = (folder / MANIFEST).read_bytes()
    manifest = BundleManifest.model_validate_json(manifest_bytes)
    contract, lineage = manifest.contract, manifest.lineage
    tags = {
        "run_key": lineage.run_key,
        "snapshot_id": lineage.snapshot_id,
        "split_digest": lineage.split_digest,
        "model_digest": manifest.files[GRAPH],
        "bundle_digest": hashlib.sha256(manifest_bytes).hexdigest(),
        "candidate": manifest.candidate,
        "verdict": verdict,
    }
    name = contract.use_case
    registered = versions.find(name, run_key=lineage.run_key)
    if registered is None or registered.tags.get("bundle_digest") != tags["bundle_digest"]:
        golden = GoldenRows.model_validate_json((folder / GOLDEN).read_bytes())
        with translated(versions.settings):
            source = _log_model(versions, folder, run, contract, golden, tags)
            _make_model(versions, name)
            made = versions.client.create_model_version(
                name,
                source=f"models:/{source}",
                run_id=run.run_id,
                tags=tags,
                description=_description(description, manifest),
                model_id=source,
            )
        registered = versions.resolve(name, str(made.version))
    elif registered.tags.get("verdict") != verdict:
        versions.set_tags(name, registered.version, {"verdict": verdict})
        registered = replace(registered, tags={**registered.tags, "verdict": verdict})
    challenger = versions.aliases(name).get(CHALLENGER)
    # A step that is tried again long after must not take the name from a newer version.
    if challenger is None or int(challenger) < int(registered.version):
        versions.set_alias(name, CHALLENGER, registered.version)
    return registered


def signature_of(contract: PredictionContract) -> ModelSignature:
    """Return the contract in MLflow's words, as its user interface shows it."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(_type(column), column.name, required=not column.nullable) for column in contract.inputs
    ]
    outputs: list[ColSpec | TensorSpec]
    if contract.task == "regression":
        outputs = [ColSpec("double", name) for name in ("value", "lower", "upper")]
    else:
        outputs = [ColSpec("double", f"probability_{label}") for label in contract.classes]
        outputs.append(ColSpec("string", "label", required=not contract.may_abstain))
        if contract.two_phase:
            outputs.append(ColSpec("string", "phase"))
    if contract.may_abstain:
        outputs.append(ColSpec("string", "abstain_reason", required=False))
    signature = ModelSignature(Schema(inputs), Schema(outputs))
    # MLflow's own check of a signature drops unknown columns with a warning and refuses whole numbers for decimals.
    # With this mark, which it writes into the model, it leaves the check to the model, and the model has the contract.
    signature._is_signature_from_type_hint = True
    return signature


def _log_model(
    versions: Versions,
    folder: Path,
    run: TrackedRun,
    contract: PredictionContract,
    golden: GoldenRows,
    tags: Mapping[str, str],
) -> str:
    """Log the bundle as a model of the run, and return the model's id."""
    import mlflow.pyfunc
    from mlflow.models import Model

    if folder.name != Path(BUNDLE_PATH).name:
        raise ValueError(f"the bundle's folder is called {folder.name!r}; expected {Path(BUNDLE_PATH).name!r}")
    params = versions.client.get_run(run.run_id).data.params
    # Made first and by id: otherwise it would land in the experiment that happens to be active.
    logged = versions.client.create_logged_model(
        run.experiment_id, name=contract.use_case, source_run_id=run.run_id, tags=dict(tags), params=params
    )
    Model.log(
        None,
        mlflow.pyfunc,
        name=contract.use_case,
        run_id=run.run_id,
        model_id=logged.model_id,
        loader_module=LOADER,
        data_path=str(folder),
        signature=signature_of(contract),
        input_example=_example(golden, contract),
        # Named, because MLflow would start a process to find out: ten seconds.
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in ("aforo", "numpy", "onnxruntime", "pandas")],
        metadata={"aforo": dict(tags)},
    )
    return str(logged.model_id)


def _type(column: ColumnContract) -> str:
    # MLflow holds that a whole number is never missing.
    return "double" if column.type == "integer" and column.nullable else _TYPES[column.type]


def _example(golden: GoldenRows, contract: PredictionContract) -> list[dict[str, Scalar]]:
    """Return some golden rows as MLflow's types want them; what is missing is left out."""
    decimals = {column.name for column in contract.inputs if _type(column) == "double"}
    return [
        {name: float(value) if name in decimals else value for name, value in row.items() if value is not None}
        for row in golden.rows[:_EXAMPLE_ROWS]
    ]


def _make_model(versions: Versions, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        versions.client.create_registered_model(name, tags={"use_case": name})
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _description(text: str, manifest: BundleManifest) -> str:
    figures = "\n".join(f"| {name} | {value:.6g} |" for name, value in manifest.metrics.items())
    lineage = manifest.lineage
    return "\n\n".join(
        part
        for part in (
            text,
            f"Candidate `{manifest.candidate}` of run `{lineage.run_key}`, snapshot `{lineage.snapshot_id[:12]}`.",
            f"| figure on the test part | value |\n|---|---|\n{figures}" if figures else "",
        )
        if part
    )
