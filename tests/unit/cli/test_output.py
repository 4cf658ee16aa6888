"""How results look on a terminal of 80 columns, and in a pipe."""

import io
from contextlib import redirect_stdout

import pytest

from aforo.cli.output import show_facts, show_manifest, show_table
from aforo.contracts.run import CalibrateManifest, CandidateSummary, SplitManifest, TrainManifest

LONG = "A sentence that is much longer than a narrow terminal is wide, so that it has to go on in the next line."
ROWS = [("wind_direction", 0.25, LONG), ("month", 12.0, "Short")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")


def test_no_line_is_wider_than_the_terminal():
    with redirect_stdout(Terminal()) as screen:
        show_table("Columns", ("name", "share", "description"), ROWS)
        show_facts({"reasons": (LONG, "And another one.")})
    assert max(len(line) for line in screen.getvalue().splitlines()) <= 80


def test_names_and_numbers_are_not_broken_on_a_narrow_terminal():
    with redirect_stdout(Terminal()) as screen:
        show_table("Columns", ("name", "share", "description"), ROWS)
    assert "wind_direction" in screen.getvalue()
    assert "0.2500" in screen.getvalue()


def test_a_row_is_one_line_in_a_pipe(capsys):
    show_table("Columns", ("name", "share", "description"), ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "",
        "  Columns",
        "  name              share  description",
        f"  wind_direction   0.2500  {LONG}",
        "  month           12.0000  Short",
    ]


def test_a_manifest_is_told_without_the_keys_of_objects(capsys):
    part = {"rows": 120_000, "share": 0.5, "target_mean": None}
    manifest = SplitManifest.model_validate(
        {
            "use_case": "late_order",
            "run_key": "k",
            "inputs": "a1",
            "seconds": 1.25,
            "snapshot_id": "b2",
            "split_digest": "c3",
            "membership": "runs/late_order/k/split/membership.parquet",
            "parts": dict.fromkeys(("train", "validation", "calibration", "test"), part),
        }
    )
    show_manifest(manifest, as_json=False)
    said = capsys.readouterr().out
    assert said.splitlines()[:3] == ["late_order split (1.2 s)", "  snapshot id   b2", "  split digest  c3"]
    assert "membership" not in said
    assert "  rows         120,000     120,000      120,000  120,000" in said


def test_a_named_record_alone_is_a_table_of_one_row(capsys):
    manifest = CalibrateManifest.model_validate(
        {
            "use_case": "late_order",
            "run_key": "k",
            "inputs": "a1",
            "seconds": 1.25,
            "candidates": (),
            "small": {
                "name": "small",
                "method": "platt",
                "predictor": "runs/late_order/k/calibrate/small/predictor.onnx",
                "cross_validated": {"platt": 0.1},
                "largest_graph_difference": 0.0,
            },
            "two_phase": {"confidence": 0.75, "validation_share": 0.8, "validation_loss": 0.0},
        }
    )
    show_manifest(manifest, as_json=False)
    said = capsys.readouterr().out
    assert "two phase confidence        0.7500" in said
    assert said.splitlines()[-2:] == [
        "  name   method  largest graph difference  cross validated",
        "  small  platt                     0.0000  platt 0.1000",
    ]
    assert "predictor.onnx" not in said


def test_what_the_report_draws_is_not_a_column_of_the_table(capsys):
    candidate = {
        "name": "neural_network",
        "kind": "neural_network",
        "is_baseline": False,
        "hyperparameters": {"epochs": 50},
        "validation_loss": 0.5,
        "fits": 2,
        "seconds": 3.0,
        "scores": "runs/late_order/k/train/neural_network/scores.onnx",
        "reference": "runs/late_order/k/train/neural_network/reference.npy",
        "mlflow_run_id": "d4",
        "integrated_gradients": {"hour": 0.25},
    }
    manifest = TrainManifest.model_construct(
        use_case="late_order", run_key="k", seconds=3.0, candidates=(CandidateSummary.model_validate(candidate),)
    )
    show_manifest(manifest, as_json=False)

    assert capsys.readouterr().out.splitlines()[-2:] == [
        "  name            kind            validation loss  fits  seconds  hyperparameters",
        "  neural_network  neural_network           0.5000     2   3.0000  epochs 50",
    ]
