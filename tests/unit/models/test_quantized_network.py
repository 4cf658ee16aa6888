"""A network in bytes: exact sums, ranges of its own, and the same answer in any company."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from aforo.errors import TrainingError
from aforo.export.inference import open_session
from aforo.graph import Graph
from aforo.models.estimators import Examples, Task
from aforo.models.estimators.quantized_network import QuantizedNetwork, QuantizedNetworkSpec, _Layer

BINARY = Task("binary", ("no", "yes"))
THREE = Task("multiclass", ("low", "middle", "high"))


def examples(rows: int, seed: int) -> Examples:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 5)) * [1, 10, 0.1, 1000, 1]
    return Examples(X, np.digitize(X[:, 0] + X[:, 1] / 10, [-0.5, 0.5]))


@pytest.fixture(scope="module")
def network() -> QuantizedNetwork:
    return QuantizedNetworkSpec(hidden=(8,)).build(THREE).fit(examples(2000, 0), examples(300, 1), seed=0)


@pytest.fixture(scope="module")
def run(network: QuantizedNetwork) -> Callable[[np.ndarray], np.ndarray]:
    graph = Graph("network")
    graph._model.graph.input.append(helper.make_tensor_value_info("matrix", TensorProto.DOUBLE, ["N", 5]))
    graph.output(network.add_to(graph, "matrix"), "scores", width=3)
    session = open_session(graph.to_bytes())
    return lambda X: session.run(None, {"matrix": X})[0]


def test_a_layer_by_hand():
    # Inputs of 0 to 255 are their own whole numbers. Weights 127 and -63.5 have the scale 1: they become 127 and -64
    # (halves go to the even number), and 10 * 127 + 20 * -64 + 5 = -5.
    layer = _Layer.of(np.array([[127.0], [-63.5]]), np.array([5.0]), np.array([[0.0, 0.0], [255.0, 255.0]]))

    assert layer.weights.tolist() == [[127.0], [-64.0]]
    assert layer.apply(np.array([[10.0, 20.0]])).tolist() == [[-5.0]]
    # 300 is beyond the range that was seen, and counts as 255; -7 counts as 0: 255 * 127 + 5.
    assert layer.apply(np.array([[300.0, -7.0]])).tolist() == [[32390.0]]


def test_it_learns_nearly_what_floating_point_learns(network: QuantizedNetwork):
    test = examples(2000, 2)

    assert float(np.mean(network.predict(test.X).argmax(axis=1) == test.y)) > 0.95


def test_weights_take_a_byte_each_in_the_graph(network: QuantizedNetwork):
    graph = Graph("network")
    graph._model.graph.input.append(helper.make_tensor_value_info("matrix", TensorProto.DOUBLE, ["N", 5]))
    network.add_to(graph, "matrix")

    matrices = [tensor for tensor in graph._model.graph.initializer if len(tensor.dims) == 2 and tensor.dims[0] > 1]
    assert [(list(tensor.dims), tensor.data_type) for tensor in matrices] == [
        ([5, 8], TensorProto.UINT8),
        ([8, 3], TensorProto.UINT8),
    ]


def test_a_row_has_the_same_bits_alone_and_in_any_company(
    network: QuantizedNetwork, run: Callable[[np.ndarray], np.ndarray]
):
    X = np.vstack([examples(97, 3).X, [[1e9, -1e9, 0, 0, 0]]])
    alone = np.vstack([run(X[row : row + 1]) for row in range(len(X))])

    assert run(X).tobytes() == alone.tobytes()
    assert run(X[::-1].copy())[::-1].tobytes() == alone.tobytes()
    np.testing.assert_allclose(alone, network.predict(X), atol=1e-12)


def test_dynamic_quantisation_would_let_a_row_depend_on_its_company(tmp_path):
    # Why it is not used: ONNX Runtime's own takes the range of the inputs from the rows of the call.
    rng = np.random.default_rng(0)
    weights = numpy_helper.from_array(rng.normal(size=(5, 3)).astype(np.float32), "weights")
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", k]) for name, k in (("x", 5), ("y", 3))]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weights"], ["y"])], "g", shapes[:1], shapes[1:], [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    (tmp_path / "float.onnx").write_bytes(model.SerializeToString())
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QInt8)
    session = onnxruntime.InferenceSession(tmp_path / "int8.onnx", providers=["CPUExecutionProvider"])
    row, other = rng.normal(size=(1, 5)).astype(np.float32), np.full((1, 5), 40, np.float32)

    alone = session.run(None, {"x": row})[0][0]
    with_another = session.run(None, {"x": np.vstack([row, other])})[0][0]

    assert np.abs(alone - with_another).max() > 0.01


def test_a_number_that_is_missing_gives_no_answer_and_no_invented_one(
    network: QuantizedNetwork, run: Callable[[np.ndarray], np.ndarray]
):
    X = examples(3, 4).X
    X[1, 2] = np.nan
    X[2, 0] = np.inf

    for outputs in (network.predict(X), run(X)):
        assert np.isnan(outputs).all(axis=1).tolist() == [False, True, True]


@pytest.mark.parametrize("task", [BINARY, THREE], ids=lambda task: task.kind)
def test_it_can_learn_from_probabilities(task: Task):
    train, validation = examples(2000, 0), examples(300, 1)
    labels = train.y if task is THREE else (train.y == 2).astype(np.int64)
    judged = validation.y if task is THREE else (validation.y == 2).astype(np.int64)
    # A teacher that is never more than 90 % sure: so is its student, which the labels alone would make surer.
    wrong = 0.1 / (task.width - 1)
    taught = np.full((2000, task.width), wrong)
    taught[np.arange(2000), labels] = 0.9

    network = QuantizedNetworkSpec(hidden=(8,), patience=50).build(task)
    by_teacher = network.fit(Examples(train.X, taught), Examples(validation.X, judged), seed=0).predict(validation.X)
    by_labels = network.fit(Examples(train.X, labels), Examples(validation.X, judged), seed=0).predict(validation.X)

    assert np.mean(by_teacher.argmax(axis=1) == judged) > 0.9
    assert np.median(by_teacher.max(axis=1)) < 0.95 < np.median(by_labels.max(axis=1))


def test_more_columns_than_32_bits_can_add_up_are_refused():
    wide = Examples(np.zeros((4, 40_000)), np.array([0, 1, 0, 1]))

    with pytest.raises(TrainingError, match="40,000 columns; expected 33,025 at most"):
        QuantizedNetworkSpec().build(BINARY).fit(wide, wide, seed=0)
