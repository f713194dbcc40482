"""Exported models in other runtimes: the same codes, because every order of operations gives octensor's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octensor as ot
from octensor import nn
from octensor import quantization as tq

onnx = pytest.importorskip("onnx")
from octensor.onnx import scales  # noqa: E402

RNG = np.random.default_rng(5)


class _Net(nn.Module):
    """Layers, a residual sum, means of four and of all cells."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.depthwise, self.point = nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 16, 1)
        self.skip, self.pool, self.last = nn.quantized.FloatFunctional(), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)
        self.flatten, self.linear = nn.Flatten(), nn.Linear(16, 10)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        x = self.pool(self.skip.add(x, self.point(self.depthwise(x))))
        return self.linear(self.flatten(self.last(x)))


def _converted(x: np.ndarray) -> nn.Module:
    ot.manual_seed(2)
    model = tq.QuantWrapper(tq.fuse_modules(_Net().eval(), [["stem.0", "stem.1"]]))
    model.qconfig = tq.get_default_qconfig("x86")
    prepared = tq.prepare(model)
    prepared(ot.Tensor(x))
    return tq.convert(prepared)


def _images(count: int) -> np.ndarray:
    return RNG.normal(size=(count, 3, 16, 16)).astype(np.float32)


def test_every_order_of_operations_gives_the_multiplier() -> None:
    for _ in range(50):
        sx, sy = (float(np.float32(v)) for v in np.exp(RNG.uniform(-12, 4, 2)))
        sw = np.exp(RNG.uniform(-12, 0, 200)).astype(np.float32).astype(np.float64)
        given = (
            ot.QParams(sx, 3, ot.quint8),
            ot.QParams(sw, np.zeros(200, int), ot.qint8, 0),
            ot.QParams(sy, 9, ot.quint8),
        )
        want = (np.float64(sx) * sw / np.float64(sy)).astype(np.float32)
        x, w, y = scales.of_product(*given)
        fx, fw, fy = np.float32(x.scale), np.asarray(w.scale, np.float32), np.float32(y.scale)
        for got in ((fx * fw) / fy, fx * (fw / fy), (fx / fy) * fw, (fx * fw) * (np.float32(1) / fy)):
            np.testing.assert_array_equal(got, want)
        assert 0.7 < x.scale / sx < 1.5
        assert (x.zero_point, y.zero_point) == (3, 9)


def test_scales_out_of_reach_stay() -> None:
    tiny = ot.QParams(float(np.finfo(np.float32).tiny) * 2, 0, ot.qint8)
    given = tiny, tiny, ot.QParams(1.0, 0, ot.qint8)
    assert scales.of_product(*given) == given


@pytest.mark.parametrize("exact", [True, False])
def test_exact_models_come_back_in_integers_with_the_same_bytes(exact: bool) -> None:
    model = _converted(_images(20))
    x = ot.Tensor(_images(50))
    data = ot.onnx.export(model, None, x, exact=exact)
    proto = onnx.load_from_string(data)
    kinds = [node.op_type for node in proto.graph.node]
    assert ("Sum" in kinds, "Add" in kinds) == (exact, not exact)
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer}
    zeros = [node.input[2] for node in proto.graph.node if node.op_type == "DequantizeLinear" and len(node.input) > 2]
    of_weights = [name for name in zeros if constants[name].dtype == np.int8]
    assert len(set(of_weights)) == len(of_weights)
    again = ot.onnx.load(data)
    assert again.stage == "static"
    np.testing.assert_array_equal(again(x), model(x))


@pytest.mark.parametrize("optimised", [True, False])
def test_onnx_runtime_gives_the_same_codes(optimised: bool) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model, x = _converted(_images(20)), _images(500)
    options = runtime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # no products that saturate on any x86
    if not optimised:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = ot.onnx.export(model, None, ot.Tensor(x[:1]), input_names=["x"])
    found = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    step = model.get_submodule("module.linear").activation_post_process.scale
    far = np.rint(np.abs(found - np.asarray(model(ot.Tensor(x)))) / step)
    assert far.max() <= 2
    assert (far <= 1).mean() >= 0.999
    assert not optimised or not far.any()
