"""ONNX models that compute with token ids, masks and positions: recorded, saved, compiled and written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
import onnx
from onnx import TensorProto, helper, numpy_helper

import octensor as ot
from octensor import nn
from octensor.quantization import float_qparams_weight_only_qconfig, quantize_dynamic
from test_program import leaves

RNG = np.random.default_rng(0)
CONSTANTS = {
    "table": RNG.standard_normal((11, 6)).astype(np.float32),
    "bytes": RNG.integers(0, 256, (11, 6)).astype(np.uint8),
    "scale": np.float32(0.05),
    "zero": np.uint8(120),
    "weight": RNG.standard_normal((6, 5)).astype(np.float32),
    "w8": RNG.integers(-128, 128, (6, 5)).astype(np.int8),
    "step": RNG.uniform(0.01, 0.02, 5).astype(np.float32),
    "none": np.array(0),
    "one": np.array(1),
    "two": np.array(2),
    "far": np.float32(-1e9),
    "yes": np.float32(0),
    "at1": np.array([1]),
    "at12": np.array([1, 2]),
    "eleven": np.array(11),
    "offon": np.array([0, 7]),
}


def _nodes() -> list[Any]:
    n = helper.make_node
    return [
        # positions that follow from the batch, and a mask gathered by them
        n("Shape", ["ids"], ["count"], start=0, end=1),
        n("Squeeze", ["count"], ["many"]),
        n("Range", ["none", "many", "one"], ["rows"]),
        n("Unsqueeze", ["rows", "at1"], ["row"]),
        n("Mul", ["ids", "none"], ["zeros"]),
        n("Add", ["row", "zeros"], ["grid"]),
        n("Unsqueeze", ["grid", "end"], ["grid3"]),
        n("CumSum", ["mask", "one"], ["summed"]),
        n("Sub", ["summed", "one"], ["places"]),
        n("Mul", ["places", "mask"], ["position"]),
        n("Unsqueeze", ["position", "end"], ["position3"]),
        n("Concat", ["grid3", "position3"], ["tuples"], axis=-1),
        n("Cast", ["mask"], ["truth"], to=TensorProto.BOOL),
        n("GatherND", ["truth", "tuples"], ["seen"]),
        n("Not", ["seen"], ["unseen"]),
        n("Unsqueeze", ["unseen", "at1"], ["unseen3"]),
        n("Where", ["unseen3", "far", "yes"], ["bias"]),
        # rows of tables of floats, and of codes
        n("Gather", ["table", "ids"], ["words"]),
        n("Gather", ["bytes", "position"], ["codes"]),
        n("DequantizeLinear", ["codes", "scale", "zero"], ["real"]),
        n("Add", ["words", "real"], ["x"]),
        n("MatMul", ["x", "weight"], ["y"]),
        n("Transpose", ["y"], ["yt"], perm=[0, 2, 1]),
        n("MatMul", ["y", "yt"], ["scores"]),
        n("Add", ["scores", "bias"], ["masked"]),
        n("Softmax", ["masked"], ["p"], axis=-1),
        n("MatMul", ["p", "y"], ["mixed"]),
        # products of codes whose scale is computed, of activations alone
        n("DynamicQuantizeLinear", ["y"], ["ya", "ys", "yz"]),
        n("Transpose", ["ya"], ["yb"], perm=[0, 2, 1]),
        n("MatMulInteger", ["ya", "yb", "yz", "yz"], ["sums"]),
        n("Cast", ["sums"], ["sums_f"], to=TensorProto.FLOAT),
        n("Mul", ["sums_f", "ys"], ["products"]),
        # and with a weight: a dynamic layer
        n("DynamicQuantizeLinear", ["x"], ["xa", "xs", "xz"]),
        n("MatMulInteger", ["xa", "w8", "xz"], ["layer"]),
        n("Cast", ["layer"], ["layer_f"], to=TensorProto.FLOAT),
        n("Mul", ["xs", "step"], ["factor"]),
        n("Mul", ["layer_f", "factor"], ["dense"]),
        # the rest
        n("Mod", ["ids", "two"], ["odd"]),
        n("Greater", ["ids", "two"], ["large"]),
        n("Cast", ["odd"], ["odd_b"], to=TensorProto.BOOL),
        n("Or", ["large", "odd_b"], ["either"]),
        n("Cast", ["either"], ["either_i"], to=TensorProto.INT64),
        n("ReduceMax", ["either_i"], ["any"], axes=[1], keepdims=0),
        n("ArgMax", ["mixed"], ["best"], axis=2, keepdims=0),
        n("OneHot", ["ids", "eleven", "offon"], ["hot"], axis=1),
        n("ReduceSum", ["mask", "at1"], ["length"], keepdims=0),
    ]


OUTPUTS = {"mixed": 1, "products": 1, "dense": 1, "any": 7, "best": 7, "hot": 7, "length": 7, "position": 7}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    constants = {**CONSTANTS, "end": np.array([-1])}
    graph = helper.make_graph(
        _nodes(),
        "tokens",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", 4]) for name in ("ids", "mask")],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in OUTPUTS.items()],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )
    path = tmp_path_factory.mktemp("tokens") / "tokens.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return ot.onnx.load(path)


def inputs(n: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.arange(4 * n).reshape(n, 4) * 5 % 11
    return ids, (np.arange(4)[None] <= 1 + np.arange(n)[:, None] % 3).astype(np.int64)


def same(got: Any, want: Any) -> None:
    for a, b in zip(leaves(got), leaves(want), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert a.tobytes() == b.tobytes()


def test_it_is_saved_compiled_and_written(model: Any, tmp_path: Path) -> None:
    assert [type(m) for m in model.modules() if type(m) is nn.Embedding] == [nn.Embedding]
    path = tmp_path / "tokens.oct"
    ot.save(model, path, inputs(3))
    loaded = ot.load(path)
    programs = [ot.compile(m, inputs(3)) for m in (model, loaded)]
    ot.onnx.export(model, tmp_path / "again.onnx", inputs(3))
    written = ot.onnx.load(tmp_path / "again.onnx")
    for program in programs:
        assert program.batch_bound is None
    for n in (3, 1, 6):
        given = inputs(n)
        want = model(*given)
        for other in (loaded, *programs, written):
            same(other(*given), want)


def test_it_is_quantized(model: Any, tmp_path: Path) -> None:
    quantized = quantize_dynamic(model, {nn.Embedding: float_qparams_weight_only_qconfig})
    ot.save(quantized, tmp_path / "q.oct", inputs(3))
    loaded = ot.load(tmp_path / "q.oct")
    program = ot.compile(loaded, inputs(3))
    for n in (3, 5):
        want = quantized(*inputs(n))
        same(loaded(*inputs(n)), want)
        same(program(*inputs(n)), want)


def test_rows_that_a_table_does_not_have(model: Any) -> None:
    ids, mask = inputs(3)
    for wrong in (ids + 11, ids - 11):
        with pytest.raises((ValueError, IndexError)):
            model(wrong, mask)
        with pytest.raises(ValueError, match="expected values in"):
            ot.compile(model, inputs(3))(wrong, mask)
