"""ONNX's own node tests, for every operator that is read: all of them pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octensor as ot

onnx = pytest.importorskip("onnx")
from onnx.backend.test.case.node import collect_testcases  # noqa: E402

from octensor.onnx.importer import OPERATORS  # noqa: E402

EXACT = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"}
EXACT |= {"MatMulInteger"}


def _is_ours(case: Any) -> bool:
    """Whether a case has only operators that are read, on tensors of types that octensor has."""
    if not {n.op_type for n in case.model.graph.node} <= set(OPERATORS) | {"Constant", "If"}:
        return False
    values = [value for inputs, outputs in case.data_sets for value in (*inputs, *outputs)]
    return all(
        isinstance(v, np.ndarray) and v.dtype.kind in "fiub" and v.dtype.name not in ("float16", "float64", "bfloat16")
        for v in values
    )


CASES = {case.name: case for case in collect_testcases(None) if _is_ours(case)}


def test_there_are_many() -> None:
    assert len(CASES) >= 1000


@pytest.mark.parametrize("name", CASES)
def test_node(name: str) -> None:
    case = CASES[name]
    model = ot.onnx.load(case.model.SerializeToString())
    exact = bool({n.op_type for n in case.model.graph.node} & EXACT)
    for inputs, outputs in case.data_sets:
        results = model(*inputs)
        results = results if isinstance(results, tuple) else (results,)
        assert len(results) == len(outputs)
        for got, want in zip(results, outputs, strict=True):
            values = got.int_repr() if isinstance(got, ot.QTensor) else np.asarray(got)
            assert (values.shape, values.dtype) == (want.shape, want.dtype)
            if want.dtype.kind == "f" and not exact:
                np.testing.assert_allclose(values, want, rtol=1e-3, atol=1e-5)
            else:
                np.testing.assert_array_equal(values, want)
