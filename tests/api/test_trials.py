"""A challenger on trial: that it is stopped before it does harm, and how a trial is begun, kept and ended."""

from __future__ import annotations

import re
import time

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from trial_requests import TRIAL, ask_as, begin, state

from aforo.contracts.prediction import PredictionContract
from aforo.contracts.table import ColumnContract
from aforo.contracts.windows import EventStream
from prediction_api.api_keys import ApiKeysFile, new_key
from prediction_api.problems import Problem
from prediction_api.trials import Trial, TrialFiles, misfit


def failing_from_1000_miles(graph):
    """Return the graph with a look-up that the runtime refuses for flights of more than 1,000 miles."""
    model = onnx.load_from_string(graph)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([[0.0]]), "only_entry"),
            numpy_helper.from_array(np.array([[1e9]]), "nowhere"),
        ]
    )
    (last,) = [node for node in model.graph.node if "z" in node.output]
    last.output[0] = "z_before"
    model.graph.node.extend(
        [
            helper.make_node("Greater", ["distance", "thousand"], ["is_far"]),
            helper.make_node("Where", ["is_far", "nowhere", "zero"], ["place"]),
            helper.make_node("Cast", ["place"], ["place_number"], to=TensorProto.INT64),
            helper.make_node("Gather", ["only_entry", "place_number"], ["looked_up"], axis=0),
            helper.make_node("Squeeze", ["looked_up", "axis_1"], ["flat"]),
            helper.make_node("Add", ["z_before", "flat"], ["z"]),
        ]
    )
    return sorted_by_need(model)


def slower(graph, width):
    """Return the graph with a product of matrices of ``width`` that adds nothing to its answer."""
    model = onnx.load_from_string(graph)
    model.graph.initializer.extend([numpy_helper.from_array(np.zeros((width, width)), "big")])
    (last,) = [node for node in model.graph.node if "z" in node.output]
    last.output[0] = "z_before"
    model.graph.node.extend(
        [
            # Of the row, so that the runtime cannot work it out once and for all.
            helper.make_node("ReduceMax", ["distance"], ["longest"], keepdims=0),
            helper.make_node("Add", ["big", "longest"], ["filled"]),
            helper.make_node("MatMul", ["filled", "big"], ["product"]),
            helper.make_node("ReduceMax", ["product"], ["nothing_more"], keepdims=0),
            helper.make_node("Add", ["z_before", "nothing_more"], ["z"]),
        ]
    )
    return sorted_by_need(model)


def sorted_by_need(model):
    """Return the graph with each node after those it reads from."""
    known = {value.name for value in (*model.graph.input, *model.graph.initializer)}
    waiting, ordered = list(model.graph.node), []
    while waiting:
        ready = [node for node in waiting if all(name in known for name in node.input)]
        ordered += ready
        known |= {name for node in ready for name in node.output}
        waiting = [node for node in waiting if node not in ready]
    del model.graph.node[:]
    model.graph.node.extend(ordered)
    return model.SerializeToString()


def test_no_caller_notices_a_challenger_that_fails_and_it_is_stopped_with_the_reason(
    registry, run_service, row, by_hand, graph_of
):
    registry.add("flight_delay", "1", weight=1.0)
    registry.add("flight_delay", "2", graph=failing_from_1000_miles(graph_of("binary", 2.0)))
    registry.point("flight_delay", champion="1", challenger="2")
    far = {**row, "distance": 2000.0}
    with run_service(registry, workers=2) as service:
        begin(service, canary_percent=100)
        service.wait_until(lambda client: ask_as(client, "a", row).json()["version"] == "2")
        answers = []
        started = time.monotonic()
        with service.client() as client:
            while state(client) == "running" and time.monotonic() - started < 20:
                answers.append(ask_as(client, "a", far))
            seconds = time.monotonic() - started
            stopped = client.get(TRIAL).json()
        service.wait_until(lambda client: ask_as(client, "a", row).json()["version"] == "1")

    assert seconds < 10
    assert stopped["state"] == "stopped"
    assert stopped["stopped"]["version"] == "2"
    assert "it failed at 3 of its last" in stopped["detail"]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["version"] for answer in answers} == {"1"}
    for answer in answers:
        assert answer.json()["predictions"][0]["probabilities"]["yes"] == pytest.approx(by_hand(far, 1.0))


def test_a_challenger_that_is_slower_is_stopped_within_10_s_although_nobody_asks(registry, run_service, graph_of):
    registry.add("flight_delay", "1", graph=slower(graph_of("binary", 1.0), 100))
    registry.add("flight_delay", "2", graph=slower(graph_of("binary", 1.0), 200))  # 3.4 times the time
    registry.point("flight_delay", champion="1", challenger="2")
    with run_service(registry) as service:
        begin(service, shadow=True)
        started = time.monotonic()
        service.wait_until(lambda client: state(client) == "stopped")
        seconds = time.monotonic() - started
        with service.client() as client:
            stopped = client.get(TRIAL).json()

    assert seconds < 10
    assert "times as long as the champion for the same rows, which is more than 2 times" in stopped["detail"]


def test_a_challenger_like_the_champion_is_not_stopped(registry, run_service, row, graph_of):
    for version in ("1", "2"):
        registry.add("flight_delay", version, graph=slower(graph_of("binary", 1.0), 100))
    registry.point("flight_delay", champion="1", challenger="2")
    with run_service(registry) as service:
        begin(service, canary_percent=50, shadow=True)
        end = time.monotonic() + 5
        with service.client() as client:
            while time.monotonic() < end:
                for caller in range(20):
                    assert ask_as(client, str(caller), row).status_code == 200
            assert state(client) == "running"


def test_a_trial_outlives_a_restart_and_can_be_ended(contenders, run_service, row):
    with run_service(contenders) as service:
        begin(service, canary_percent=100)
    with run_service(contenders) as service:
        service.wait_until(lambda client: ask_as(client, "a", row).json()["version"] == "2")
        with service.client() as client:
            assert client.delete(TRIAL).json()["state"] == "none"
        service.wait_until(lambda client: ask_as(client, "a", row).json()["version"] == "1")


def test_a_trial_waits_while_its_alias_is_the_champion(contenders, run_service, row):
    with run_service(contenders) as service:
        begin(service, canary_percent=100)
        contenders.point("flight_delay", champion="2", challenger="2")
        service.wait_until(lambda client: state(client) == "waiting")
        with service.client() as client:
            assert client.get(TRIAL).json()["detail"] == "challenger is version 2, which is the champion"
            assert ask_as(client, "a", row).json()["version"] == "2"


@pytest.mark.parametrize(
    ("trial", "status", "code", "message"),
    [
        ({"canary_percent": 101}, 422, "invalid_trial", "canary_percent: Input should be less than or equal to 100"),
        ({"canary_percent": -1}, 422, "invalid_trial", "canary_percent: Input should be greater than or equal to 0"),
        ({"canary": 10}, 422, "invalid_trial", "canary: Extra inputs are not permitted"),
        ({"alias": "nobody"}, 404, "model_not_found", "no alias 'nobody'; its aliases: challenger, champion"),
        ({"alias": "champion"}, 422, "invalid_trial", "champion is version 1, which is the champion"),
    ],
)
def test_a_trial_that_cannot_be_is_refused_and_changes_nothing(client, trial, status, code, message):
    answer = client.put(TRIAL, json=trial)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert message in answer.json()["detail"]
    assert client.get(TRIAL).json()["state"] == "none"


def test_what_is_no_json_is_refused(client):
    answer = client.put(TRIAL, content=b"{")

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_trial")


def test_trials_need_a_key_with_the_scope_admin(contenders, run_service, tmp_path):
    key = new_key("web shop")
    keys = tmp_path / "keys.json"
    keys.write_text(ApiKeysFile(keys=(key.entry,)).model_dump_json())
    with run_service(contenders, api_keys_file=str(keys)) as service, service.client() as client:
        answer: httpx.Response = client.put(TRIAL, json={"canary_percent": 10}, headers={"X-API-Key": key.key})

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_of_several_workers_one_stops_a_trial(tmp_path):
    files = [TrialFiles(tmp_path / "trials") for _ in range(2)]
    begun = files[0].begin("flight_delay", Trial(canary_percent=10))

    assert [each.stop("flight_delay", begun.since, "2", "slow") for each in files] == [True, False]
    assert files[0].read("flight_delay").stopped.reason == "slow"
    again = files[1].begin("flight_delay", Trial(canary_percent=10))
    assert files[0].stop("flight_delay", begun.since, "2", "late news") is False
    assert files[0].read("flight_delay") == again


def test_a_file_damaged_by_hand_is_named(tmp_path):
    (tmp_path / "flight_delay.json").write_text('{"trial": {"canary_percent": 101}, "since": 0}')

    with pytest.raises(Problem, match="the trial of flight_delay is kept in a file that is damaged"):
        TrialFiles(tmp_path).read("flight_delay")


COLUMN = ColumnContract(name="distance", type="number", role="feature", minimum=0)


DEPARTURES = EventStream(
    stream="departures",
    known_at="departed_at",
    asked_at="asked_at",
    by=("origin",),
    columns={"distance": {"kind": "count", "minutes": 60}},
    identity=("flight",),
    event_columns=(),
    request_columns=(),
)


def contract_with(*columns, classes=("no", "yes")):
    return PredictionContract(use_case="x", task="binary", target="late", classes=classes, inputs=columns)


@pytest.mark.parametrize(
    ("challenger", "reason"),
    [
        (contract_with(COLUMN), None),
        (contract_with(COLUMN.model_copy(update={"description": "Distance flown"})), None),
        (contract_with(COLUMN, classes=("on_time", "late")), "its task or its classes"),
        (contract_with(COLUMN, COLUMN.model_copy(update={"name": "seats"})), "its columns .* seats"),
        (contract_with(COLUMN.model_copy(update={"minimum": 10})), "its column 'distance' has another minimum"),
        (contract_with(COLUMN).model_copy(update={"windows": (DEPARTURES,)}), "its windows are others"),
    ],
)
def test_a_challenger_must_take_and_give_what_the_champion_does(challenger, reason):
    found = misfit(contract_with(COLUMN), challenger)

    assert found is None if reason is None else re.match(reason, found)
