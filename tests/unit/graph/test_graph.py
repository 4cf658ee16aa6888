"""The graph builder: exact look-ups, the same bytes for the same calls, and graphs that can be extended."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from aforo.errors import ExportError
from aforo.graph import Graph


def run(graph: Graph, **columns: object) -> np.ndarray:
    arrays = {
        name: np.array(values, dtype=object if any(isinstance(v, str) for v in values) else np.float64).reshape(-1, 1)
        for name, values in columns.items()
    }
    session = onnxruntime.InferenceSession(graph.to_bytes(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, arrays)[0])


def doubled(name: str = "graph") -> Graph:
    graph = Graph(name)
    graph.output(graph.add("Mul", graph.input("x"), graph.constant(2.0)), "y", width=1)
    return graph


def test_the_same_calls_give_the_same_bytes() -> None:
    assert doubled().to_bytes() == doubled().to_bytes()


def test_numbers_keep_all_their_bits() -> None:
    value = 0.1 + 2**-55

    assert run(doubled(), x=[value])[0, 0] == 2 * value


def test_equal_constants_are_stored_once() -> None:
    graph = Graph("graph")

    assert graph.constant([1.0, 2.0]) == graph.constant([1.0, 2.0])
    assert graph.constant([1.0, 2.0]) != graph.constant([[1.0, 2.0]])
    assert graph.constant([1.0]) != graph.constant([1], dtype=np.int64)


def test_a_look_up_finds_texts_byte_by_byte() -> None:
    graph = Graph("graph")
    found = graph.lookup(graph.input("x", kind="text"), ["Lima", "", "東京"], [10.0, 20.0, 30.0], default=-1.0)
    graph.output(found, "y", width=1)

    assert run(graph, x=["東京", "", "Lima", "lima", "Lima "])[:, 0].tolist() == [30, 20, 10, -1, -1]


def test_a_look_up_finds_numbers_and_missing_numbers() -> None:
    graph = Graph("graph")
    graph.output(graph.lookup(graph.input("x"), [0.0, 0.1, np.nan], [1.0, 2.0, 3.0], default=np.nan), "y", width=1)

    found = run(graph, x=[0.0, -0.0, 0.1, np.nextafter(0.1, 1), np.nan, -np.nan])[:, 0]

    np.testing.assert_array_equal(found, [1, 1, 2, np.nan, 3, 3])


@pytest.mark.parametrize("width", [1, 2, 3, 5, 10, 13, 31])
def test_a_row_has_the_same_sum_alone_and_among_others(width: int) -> None:
    names = [f"x{place}" for place in range(width)]
    graph = Graph("sums")
    graph.output(graph.row_sums(graph.beside([graph.input(name) for name in names])), "y", width=1)
    rows = np.random.default_rng(0).random((131, width))

    together = run(graph, **dict(zip(names, rows.T, strict=True)))
    alone = np.vstack([run(graph, **dict(zip(names, row[:, None], strict=True))) for row in rows[:40]])

    assert together[:40].tobytes() == alone.tobytes()
    np.testing.assert_allclose(together[:, 0], rows.sum(axis=1), rtol=1e-14)


@pytest.mark.parametrize("width", [1, 2, 3, 5, 16])
def test_a_function_gives_a_row_the_same_bits_alone_and_among_others(width: int) -> None:
    names = [f"x{place}" for place in range(width)]
    graph = Graph("mapped")
    matrix = graph.beside([graph.input(name) for name in names])
    graph.output(graph.mapped(matrix, lambda x: graph.add("Sigmoid", graph.add("Log", x))), "y", width=width)
    rows = 2 * np.random.default_rng(0).random((131, width))

    together = run(graph, **dict(zip(names, rows.T, strict=True)))

    for size in (0, 1, 2, 7, 8, 9, 40):
        few = run(graph, **dict(zip(names, rows[:size].T, strict=True)))
        assert few.shape == (size, width)
        assert few.tobytes() == together[:size].tobytes()
    np.testing.assert_allclose(together, rows / (1 + rows), rtol=0, atol=4e-16)


def operators_of(graph: Graph) -> list[str]:
    return [node.op_type for node in onnx.load_model_from_string(graph.to_bytes()).graph.node]


def test_rows_are_added_once_for_functions_that_follow_each_other() -> None:
    graph = Graph("mapped")
    sigmoid = graph.mapped(graph.input("x"), lambda x: graph.add("Sigmoid", x))
    graph.output(sigmoid, "p", width=1)
    graph = Graph.from_bytes(graph.to_bytes())  # as a calibrator extends the graph of a model
    p = graph.add("Clip", graph.reopen("p"), graph.constant(1e-9), graph.constant(1 - 1e-9))
    odds = graph.add("Div", p, graph.add("Sub", graph.constant(1.0), p))
    graph.output(graph.mapped(odds, lambda x: graph.add("Log", x)), "y", width=1)
    x = np.random.default_rng(0).normal(size=131)

    together = run(graph, x=x)

    assert operators_of(graph) == ["Pad", "Sigmoid", "Clip", "Sub", "Div", "Log", "Slice", "Identity"]
    np.testing.assert_allclose(together[:, 0], x, atol=1e-14)
    for size in (0, 1, 2, 7, 8, 9, 40):
        assert run(graph, x=x[:size]).tobytes() == together[:size].tobytes()


def test_rows_are_added_anew_where_they_do_not_come_from_all_sides() -> None:
    graph = Graph("mapped")
    x = graph.input("x")
    grown = graph.add("Mul", graph.mapped(x, lambda x: graph.add("Exp", x)), graph.input("z"))
    graph.output(graph.mapped(grown, lambda x: graph.add("Log", x)), "y", width=1)

    assert operators_of(graph).count("Pad") == 2
    np.testing.assert_allclose(run(graph, x=[1.0, 2.0], z=[1.0, np.e])[:, 0], [1, 3], rtol=1e-15)


def test_log_odds_are_taken_from_before_they_became_probabilities() -> None:
    graph = Graph("odds")
    graph.output(graph.mapped(graph.input("x"), lambda x: graph.add("Sigmoid", x)), "p", width=1)
    graph = Graph.from_bytes(graph.to_bytes())  # as a calibrator extends the graph of a model
    p = graph.reopen("p")

    assert graph.log_odds(p) == "x"


def test_what_is_no_logistic_curve_has_no_log_odds_at_hand() -> None:
    graph = Graph("odds")
    x = graph.input("x")
    grown = graph.mapped(x, lambda x: graph.add("Exp", x))
    twice = graph.mapped(x, lambda x: graph.add("Sigmoid", graph.add("Exp", x)))

    assert [graph.log_odds(tensor) for tensor in (x, grown, twice, graph.add("Sigmoid", x))] == [None] * 4


def test_the_second_of_two_classes_is_taken_from_before_the_first_was_made() -> None:
    graph = Graph("classes")
    both = graph.both_classes(graph.input("p"))
    graph.output(graph.beside([both, graph.second_class(both)]), "y", width=3)

    assert graph.second_class(both) == "p"
    assert run(graph, p=[0.25, np.nan]).tolist()[0] == [0.75, 0.25, 0.25]


def test_the_second_of_two_classes_is_a_column_of_anything_else() -> None:
    graph = Graph("classes")
    given = graph.beside([graph.input("a"), graph.input("b")])
    graph.output(graph.second_class(given), "y", width=1)

    assert run(graph, a=[0.75], b=[0.25]).tolist() == [[0.25]]


def test_matrices_put_side_by_side_twice_are_put_so_once() -> None:
    graph = Graph("beside")
    left = graph.beside([graph.input("a"), graph.input("b")])
    doubled = graph.add("Mul", left, graph.constant(2.0))
    graph.output(graph.beside([left, doubled, graph.input("c")]), "y", width=5)

    assert run(graph, a=[1.0], b=[2.0], c=[3.0]).tolist() == [[1, 2, 2, 4, 3]]
    assert operators_of(graph) == ["Concat", "Mul", "Concat", "Identity"]


def test_nodes_that_no_output_comes_from_are_left_out() -> None:
    graph = Graph("unused")
    x = graph.input("x")
    matrix = graph.beside([graph.beside([x, graph.add("Neg", x)]), x])
    graph.output(matrix, "y", width=3)

    assert run(graph, x=[1.0]).tolist() == [[1, -1, 1]]
    assert operators_of(graph) == ["Neg", "Concat", "Identity"]


def test_columns_of_numbers_are_packed_into_one_input() -> None:
    def made() -> Graph:
        graph = Graph("packed")
        a, b, c = (graph.input(name) for name in ("a", "b", "c"))
        text, _ = graph.input("text", kind="text"), graph.input("d")
        looked_up = graph.lookup(text, ["x"], [10.0], default=20.0)
        matrix = graph.beside([c, looked_up, b, a])
        difference = graph.add("Sub", a, c)
        graph.output(graph.beside([matrix, difference, graph.beside([c, b])]), "y", width=7)
        return graph

    columns = {"a": [1.0, 2.0], "b": [3.0, np.nan], "c": [5.0, 6.0], "d": [7.0, 8.0]}
    packed = made()
    order = packed.pack(("a", "b", "c", "d"), "numbers")
    session = onnxruntime.InferenceSession(packed.to_bytes(), providers=["CPUExecutionProvider"])
    feeds = {"numbers": np.array([columns[name] for name in order]).T, "text": np.array([["x"], ["y"]], dtype=object)}

    assert order == ("c", "b", "a", "d")
    assert packed.inputs == ("text", "numbers")
    np.testing.assert_array_equal(session.run(None, feeds)[0], run(made(), text=["x", "y"], **columns))


def test_columns_that_all_lie_side_by_side_are_taken_as_they_come() -> None:
    graph = Graph("packed")
    names = ("a", "b", "c")
    a, b, c = (graph.input(name) for name in names)
    graph.output(graph.add("Neg", graph.beside([c, a, b])), "y", width=3)

    order = graph.pack(names, "numbers")

    nodes = onnx.load_model_from_string(graph.to_bytes()).graph.node
    assert order == ("c", "a", "b")
    assert [node.op_type for node in nodes] == ["Neg", "Identity"]
    assert list(nodes[0].input) == ["numbers"]


def test_a_text_that_is_only_looked_up_becomes_its_number() -> None:
    graph = Graph("codes")
    found = graph.lookup(graph.input("city", kind="text"), ["Lima", "東京", ""], [1.5, np.nan, 3.0], default=-1.0)
    graph.output(graph.beside([graph.add("Neg", found), graph.input("x"), found]), "y", width=3)

    codes, otherwise = graph.take_codes("city") or ({}, 0.0)

    assert list(codes) == ["Lima", "東京", ""]
    np.testing.assert_array_equal(list(codes.values()), [1.5, np.nan, 3.0])
    assert otherwise == -1
    assert graph.inputs == ("city", "x")
    assert run(graph, city=[1.5], x=[7.0]).tolist() == [[-1.5, 7, 1.5]]


def test_a_text_that_is_used_otherwise_stays_one() -> None:
    graph = Graph("codes")
    twice, unused, number = graph.input("twice", kind="text"), graph.input("unused", kind="text"), graph.input("x")
    columns = [graph.lookup(twice, ["a"], [value], default=0.0) for value in (1.0, 2.0)]
    graph.output(graph.beside([*columns, graph.add("Neg", number)]), "y", width=3)

    assert [graph.take_codes(name) for name in (twice, unused, number)] == [None, None, None]
    assert run(graph, twice=["a"], unused=["b"], x=[3.0]).tolist() == [[1, 2, -3]]


def test_facts_are_written_beside_those_of_before() -> None:
    graph = doubled()
    graph.describe({"a": "1", "b": "2"})
    graph.describe({"b": "3"})

    facts = onnx.load_model_from_string(graph.to_bytes()).metadata_props

    assert {fact.key: fact.value for fact in facts} == {"a": "1", "b": "3"}


def test_a_stored_graph_is_extended_from_its_output() -> None:
    graph = Graph.from_bytes(doubled().to_bytes())
    tensor = graph.reopen("y")
    graph.output(graph.add("Add", tensor, graph.constant(1.0)), "z", width=1)

    assert (graph.inputs, graph.outputs) == (("x",), ("z",))
    assert run(graph, x=[3.0]).tolist() == [[7.0]]


def test_an_extended_graph_reuses_constants_and_repeats_no_name() -> None:
    graph = Graph.from_bytes(doubled().to_bytes())
    graph.output(graph.add("Mul", graph.reopen("y"), graph.constant(2.0)), "z", width=1)
    model = onnx.load_model_from_string(graph.to_bytes())

    assert len(model.graph.initializer) == 1
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)


def test_an_output_that_is_not_there_is_named() -> None:
    with pytest.raises(ExportError, match="no output 'z'; it has: y"):
        doubled().reopen("z")


def test_bytes_that_are_no_graph_are_refused() -> None:
    with pytest.raises(ExportError, match="not an ONNX model"):
        Graph.from_bytes(b"\x00not a graph")


def test_nodes_that_do_not_fit_together_are_refused_by_name() -> None:
    graph = Graph("odd")
    graph.output(graph.add("Mul", graph.input("x", kind="text"), graph.constant(2.0)), "y", width=1)

    with pytest.raises(ExportError, match=r"'odd' is not valid ONNX: [\s\S]*mul_"):
        graph.to_bytes()
