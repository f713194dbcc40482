"""`onnx.export`: against ONNX's own checker and reference evaluator, and back through `onnx.load`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import octensor as ot
from octensor import nn
from octensor import quantization as tq

onnx = pytest.importorskip("onnx")
from onnx.reference import ReferenceEvaluator  # noqa: E402

from octensor.onnx.exporter import ROWS  # noqa: E402
from octensor.ops.spec import OPS  # noqa: E402

RNG = np.random.default_rng(11)
F = nn.functional


def _floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def _flat(tree: Any) -> list[np.ndarray]:
    return [a for part in tree for a in _flat(part)] if isinstance(tree, (tuple, list)) else [np.asarray(tree)]


def _exported(model: Any, *inputs: np.ndarray, **options: Any) -> tuple[Any, bytes]:
    data = ot.onnx.export(model, None, tuple(ot.Tensor(x) if x.dtype == np.float32 else x for x in inputs), **options)
    proto = onnx.load_from_string(data)
    onnx.checker.check_model(proto, full_check=True)
    return proto, data


def _compared(model: Any, *inputs: np.ndarray, **options: Any) -> tuple[list[np.ndarray], ...]:
    """Export, and return what the model, the reference evaluator and the loaded model give."""
    proto, data = _exported(model, *inputs, **{"opset": 21, **options})
    arguments = [ot.Tensor(x) if x.dtype == np.float32 else x for x in inputs]
    feed = dict(zip([v.name for v in proto.graph.input], inputs, strict=True))
    return (
        _flat(model(*arguments)),
        [np.asarray(v) for v in ReferenceEvaluator(proto).run(None, feed)],
        _flat(ot.onnx.load(data)(*arguments)),
    )


def _near(model: Any, *inputs: np.ndarray, tolerance: float = 2e-5, **options: Any) -> None:
    for kept in _compared(model, *inputs, **options)[1:]:
        for a, b in zip(
            _flat(model(*(ot.Tensor(x) if x.dtype == np.float32 else x for x in inputs))), kept, strict=True
        ):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def _static(model: nn.Module, x: np.ndarray, **swaps: Any) -> nn.Module:
    wrapped = tq.QuantWrapper(model.eval())
    wrapped.qconfig = tq.get_default_qconfig("x86")
    prepared = tq.prepare(wrapped, **swaps)
    prepared(ot.Tensor(x))
    return tq.convert(prepared)


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, groups=8)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.act, self.gate, self.pool = nn.Hardswish(), nn.Sigmoid(), nn.AdaptiveAvgPool2d(1)
        self.sum, self.product, self.join = (nn.quantized.FloatFunctional() for _ in range(3))
        self.flatten, self.linear = nn.Flatten(), nn.Linear(24, 5)

    def forward(self, x: Any) -> Any:
        x = self.act(self.conv(x))
        y = self.up(self.depthwise(x))
        cut = x[:, :, :6, :6]
        y = self.sum.add_relu(y, cut)
        z = self.product.mul(y, self.gate(cut))
        joined = self.join.cat([F.max_pool2d(y, 2), F.max_pool2d(z, 2), F.avg_pool2d(z, 2)], dim=1)
        return self.linear(self.flatten(self.pool(joined)))


@pytest.mark.parametrize("backend", ["x86", "qnnpack"])
def test_static_models_are_within_one_step_and_come_back_equal(backend: str) -> None:
    ot.manual_seed(3)
    x = _floats(4, 3, 8, 8)
    model = tq.QuantWrapper(_Net().eval())
    model.qconfig = tq.get_default_qconfig(backend)
    prepared = tq.prepare(model)
    prepared(ot.Tensor(x))
    converted = tq.convert(prepared)
    proto, _ = _exported(converted, x, opset=21)
    want, reference, again = _compared(converted, np.concatenate([x, 0.5 * x]))
    assert np.array_equal(want[0], again[0])
    step = converted.get_submodule("module.linear").activation_post_process.scale
    assert np.abs(want[0] - reference[0]).max() <= 1.01 * step
    kinds = [node.op_type for node in proto.graph.node]
    assert kinds.count("QuantizeLinear") >= 10
    weights = {i.name: i for i in proto.graph.initializer}
    assert onnx.numpy_helper.to_array(weights["module.conv.weight"]).dtype == np.int8
    assert onnx.numpy_helper.to_array(weights["module.conv.bias.codes"]).dtype == np.int32


def test_groups_of_transposed_convolutions_share_their_scales() -> None:
    x = _floats(2, 4, 5, 5)  # the reference evaluator has no groups there
    model = _static(nn.ConvTranspose2d(4, 6, 3, 2, groups=2), x)
    _, data = _exported(model, x)
    assert np.array_equal(model(ot.Tensor(x)), ot.onnx.load(data)(ot.Tensor(x)))


def test_graph_mode_gives_the_same_model_as_layer_by_layer() -> None:
    from octensor.quantization.quantize_fx import convert_fx, prepare_fx

    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 4)).eval()
    x = _floats(3, 3, 8, 8)
    prepared = prepare_fx(net, {"": tq.get_default_qconfig("x86")})
    prepared(ot.Tensor(x))
    want, reference, again = _compared(convert_fx(prepared), x)
    assert np.array_equal(want[0], again[0])
    np.testing.assert_allclose(want[0], reference[0], atol=0.05)


def test_quantized_attention_and_lstm() -> None:
    swaps = {
        nn.TransformerEncoderLayer: nn.quantizable.TransformerEncoderLayer,
        nn.LSTM: nn.quantizable.LSTM,
    }

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, activation="gelu")
            self.lstm = nn.LSTM(16, 6)

        def forward(self, x: Any) -> Any:
            return self.lstm(self.encoder(x))[0]

    x = _floats(5, 3, 16)
    config = {"float_to_observed_custom_module_class": swaps}
    model = _static(Both(), x, prepare_custom_config_dict=config)
    want, reference, again = _compared(model, np.concatenate([x, x], 1), batch_axis=1)
    for other in (reference[0], again[0]):
        assert np.abs(want[0] - other).max() < 0.05 * np.abs(want[0]).max()


@pytest.mark.parametrize("per_channel", [False, True])
def test_dynamic_linear(per_channel: bool) -> None:
    net = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 4, bias=False)).eval()
    qconfig = tq.per_channel_dynamic_qconfig if per_channel else tq.default_dynamic_qconfig
    _near(tq.quantize_dynamic(net, {nn.Linear: qconfig}), _floats(3, 2, 12))


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}, {"bias": False}]
)
def test_recurrent_layers(kind: str, options: dict[str, Any]) -> None:
    layer = getattr(nn, kind)(5, 4, **options).eval()
    x = ot.Tensor(_floats(3, 2, 5))
    data = ot.onnx.export(layer, None, x, batch_axis=0 if "batch_first" in options else 1)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    for a, b in zip(_flat(layer(x)), _flat(ot.onnx.load(data)(x)), strict=True):
        np.testing.assert_array_equal(a, b)
    if "num_layers" not in options:  # the reference evaluator has one direction alone
        for a, b in zip(
            _flat(layer(x)),
            ReferenceEvaluator(onnx.load_from_string(data)).run(None, {"input": x.numpy()}),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, atol=1e-5)


_IMAGE = _floats(2, 4, 6, 6)
_TABLES = {nn.Embedding: tq.float_qparams_weight_only_qconfig}
_CASES: dict[str, tuple[Any, np.ndarray]] = {
    "curves": (
        lambda x: F.gelu(F.silu(x)) + F.gelu(x, approximate="tanh") + F.mish(x) + F.softplus(x, 2.0) + F.elu(x, 0.7)
        + F.selu(x) + F.celu(x, 1.3) + F.leaky_relu(x, 0.2) + F.hardsigmoid(x) + F.hardswish(x) + F.relu6(3 * x)
        + F.hardtanh(x) + F.threshold(x, 0.1, -1.0) + ot.clamp(x, min=-0.5) + ot.clamp(x, max=0.4),
        _IMAGE,
    ),
    "arithmetic": (
        lambda x: ot.exp(ot.sqrt(ot.abs(x))) / (1.0 + ot.sigmoid(x)) - ot.tanh(x) * 2 + x**2 + ot.log(ot.abs(x) + 1),
        _IMAGE,
    ),
    "reductions": (
        lambda x: x.mean((2, 3)).sum(1) + ot.amax(x, (1, 2, 3)) + x.sum((1, 2, 3)),
        _IMAGE,
    ),
    "movement": (
        lambda x: ot.cat([x[:, 1:3, ::2, -1], x[..., 2].permute(0, 2, 1)[:, :2, :3].flip(1)], 2)[:, None].squeeze(1),
        _IMAGE,
    ),
    "parts": (lambda x: x[:, -1, None, 2:][..., [0, 2, 2], :], _IMAGE),
    "pads": (
        lambda x: F.pad(x, (1, 2), "reflect") + F.pad(x, (2, 1), "replicate") + F.pad(x, (3, 0), "constant", 0.5),
        _IMAGE,
    ),
    "pools": (
        lambda x: F.max_pool2d(x, 3, 2, 1) + F.avg_pool2d(x, 3, 2, 1) + F.adaptive_avg_pool2d(x, 3),
        _IMAGE,
    ),
    "softmax": (lambda x: F.softmax(x, 1) + F.log_softmax(x, -1), _IMAGE),
    "resizing": (
        lambda x: F.interpolate(x, size=(9, 12), mode="bilinear") + F.interpolate(x, size=(9, 12), mode="nearest"),
        _IMAGE,
    ),
    "norms": (
        nn.Sequential(nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), nn.LayerNorm((6, 6))).append(
            nn.BatchNorm2d(4)
        ).eval(),
        _IMAGE,
    ),
    "layer norm alone": (lambda x: F.layer_norm(x, (6,)), _IMAGE),
    "prelu": (nn.PReLU(4).eval(), _IMAGE),
    "tables": (nn.Embedding(7, 3).eval(), RNG.integers(0, 7, (2, 5))),
    "quantized tables": (
        tq.quantize_dynamic(nn.Sequential(nn.Embedding(7, 8)).eval(), _TABLES),
        RNG.integers(0, 7, (2, 5)),
    ),
    "attention": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), _floats(2, 5, 8)),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1).eval(), _IMAGE),
    "volumes": (nn.Conv1d(4, 6, 3, padding=2, dilation=2).eval(), _floats(2, 4, 9)),
}  # fmt: skip


@pytest.mark.parametrize("opset", [17, 18, 21])
@pytest.mark.parametrize("name", _CASES)
def test_float_operations(name: str, opset: int) -> None:
    model, x = _CASES[name]
    _near(model, x, opset=opset)


def test_the_batch_stays_open_or_says_why_not() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4 * 16, 6)).eval()
    proto, data = _exported(net, _floats(2, 3, 6, 6))
    dims = [
        [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*proto.graph.input, *proto.graph.output)
    ]
    assert dims == [["batch", 3, 6, 6], ["batch", 6]]
    x = _floats(5, 3, 6, 6)
    np.testing.assert_array_equal(ot.onnx.load(data)(x), net(x))
    fixed, _ = _exported(net, x, dynamic_batch=False)
    assert fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 5

    def by_size(x: Any) -> Any:
        return ot.relu(x) if x.shape[0] == 2 else ot.tanh(x)

    with pytest.raises(ot.onnx.ExportError, match="dynamic_batch=False"):
        ot.onnx.export(by_size, None, ot.Tensor(_floats(2, 3)))


def test_names_and_files(tmp_path: Path) -> None:
    def both(a: Any, b: Any) -> Any:
        return a + b, a

    x = ot.Tensor(_floats(2, 3))
    names = {"input_names": ["left", "right"], "output_names": ["sum", "same"]}
    data = ot.onnx.export(both, tmp_path / "m.onnx", (x, x), **names)
    proto = onnx.load(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == data
    assert [v.name for v in proto.graph.input] == ["left", "right"]
    assert [v.name for v in proto.graph.output] == ["sum", "same"]
    with pytest.raises(ValueError, match="expected 2 different names"):
        ot.onnx.export(both, None, (x, x), input_names=["a", "a"])
    with pytest.raises(ValueError, match="opset: expected one of"):
        ot.onnx.export(both, None, (x, x), opset=12)
    with pytest.raises(ValueError, match="train mode"):
        ot.onnx.export(nn.Linear(3, 2), None, x)


def test_quantized_inputs_and_outputs_are_codes() -> None:
    q = ot.quantize_per_tensor(_floats(2, 3), 0.05, 120, ot.quint8)
    data = ot.onnx.export(lambda x: F.relu(x), None, q, opset=21)
    (codes,) = ReferenceEvaluator(onnx.load_from_string(data)).run(None, {"x": q.int_repr()})
    np.testing.assert_array_equal(codes, F.relu(q).int_repr())


def test_what_cannot_be_written_is_named_all_at_once() -> None:
    class Odd(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.adaptive_avg_pool2d(x, 4) + x.unfold(2, 3, 1)[:, :, :, :4, 0].unsqueeze(2)

    with pytest.raises(ot.onnx.ExportError, match="2 operations") as error:
        ot.onnx.export(nn.Sequential(Odd()).eval(), None, ot.Tensor(_floats(1, 2, 6, 6)))
    assert "0: adaptive_avg_pool2d" in str(error.value)
    assert "0: unfold" in str(error.value)


def test_rows_are_of_ops_that_there_are() -> None:
    from octensor.ops.exact import EXACT

    assert set(ROWS) <= set(OPS) | set(EXACT)


def test_dynamic_layers_come_back_as_layers() -> None:
    net = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 4, bias=False)).eval()
    model = tq.quantize_dynamic(net)
    x = ot.Tensor(_floats(3, 12))
    loaded = ot.onnx.load(ot.onnx.export(model, None, x))
    assert [m.stage for m in loaded.modules() if isinstance(m, nn.Linear)] == ["dynamic", "dynamic"]
    assert [n.op for n in loaded.graph.nodes].count("call_function") <= 2
    np.testing.assert_array_equal(loaded(x), model(x))


def test_the_page_lists_what_is_read_and_written() -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
    import onnx_operators

    assert onnx_operators.PAGE.read_text(encoding="utf-8") == onnx_operators.page(), "python scripts/onnx_operators.py"
