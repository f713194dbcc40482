"""Recorded models: every stage of every kind of layer replays to the same bytes, also on other inputs."""

from __future__ import annotations

import copy
import threading
import warnings
from typing import Any

import numpy as np
import pytest

import octensor as ot
import octensor.nn.functional as F
from octensor import fx, nn
from octensor import quantization as tq
from octensor.nn.utils.rnn import PackedSequence, pack_padded_sequence
from octensor.ops import OPS
from octensor.ops.exact import EXACT
from octensor.ops.recording import RECORDING


def same(a: Any, b: Any) -> bool:
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, ot.QTensor):
        return isinstance(b, ot.QTensor) and a.equal(b)
    return np.array_equal(np.asarray(a), np.asarray(b))


def others(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Inputs of the same shapes with other values; sizes of packed sequences stay."""
    rng = np.random.default_rng(5)

    def change(x: Any) -> Any:
        if isinstance(x, PackedSequence):
            return x._replace(data=change(x.data))
        if isinstance(x, tuple):
            return tuple(change(part) for part in x)
        array = np.asarray(x)
        if isinstance(x, ot.QTensor):
            return ot.QTensor.from_numpy(rng.integers(0, 255, array.shape).astype(array.dtype), x.qparams)
        if array.dtype.kind == "f":
            return ot.Tensor(rng.standard_normal(array.shape, np.float32))
        return ot.Tensor(rng.permutation(array.reshape(-1)).reshape(array.shape))

    return tuple(change(x) for x in inputs)


def replays(model: Any, *inputs: Any, **options: Any) -> fx.GraphModule:
    """Record, check bytes on the example and on other inputs, and return the graph module."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorded = fx.record(model, inputs, **options)
    assert RECORDING.recorder is None
    recorded.graph.lint()
    for given in (inputs, others(inputs)):
        expected = model(*given)
        assert same(recorded(*given), expected)
        assert same(fx.Interpreter(recorded).run(*given), expected)
    assert same(copy.deepcopy(recorded)(*others(inputs)), expected)
    return recorded


def names(module: fx.GraphModule) -> list[str]:
    return [getattr(n.target, "name", n.target) for n in module.graph.nodes if n.op == "call_function"]


def static(model: nn.Module, *inputs: Any) -> nn.Module:
    model.eval().qconfig = tq.get_default_qconfig("fbgemm")
    prepared = tq.prepare(model)
    prepared(*inputs)
    return tq.convert(prepared)


def dynamic(model: nn.Module, kind: type, dtype: Any) -> nn.Module:
    return tq.quantize_dynamic(nn.Sequential(model).eval(), {kind}, dtype=dtype)


class Between(nn.Module):
    """A model between stubs; `call` says how it is called."""

    def __init__(self, inner: nn.Module, call: Any = None) -> None:
        super().__init__()
        self.quant, self.inner, self.dequant = tq.QuantStub(), inner, tq.DeQuantStub()
        self.call = call or (lambda m, x: m(x))

    def forward(self, x: Any, *rest: Any) -> Any:
        y = self.call(self.inner, self.quant(x), *rest)
        return tuple(self.dequant(part) for part in y) if isinstance(y, tuple) else self.dequant(y)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU()
        self.add, self.mul, self.join = (nn.quantized.FloatFunctional() for _ in range(3))

    def forward(self, x: Any) -> Any:
        y = self.relu(self.bn(self.conv(x)))
        y = self.add.add_relu(y, x)
        y = self.join.cat([self.mul.mul(y, x), self.add.mul_scalar(y, 0.5)], dim=1)
        return y.reshape(y.shape[0], -1) if y.shape[0] < 9 else y


IMAGES = (2, 3, 8, 8)


def test_a_static_network_is_its_ops_with_weights_as_arguments() -> None:
    x = ot.randn(*IMAGES)
    model = Between(nn.Sequential(Residual(), nn.Linear(6 * 64, 4)))
    tq.fuse_modules(model.eval(), [["inner.0.conv", "inner.0.bn", "inner.0.relu"]], inplace=True)
    converted = static(model, x)
    module = replays(converted, x)
    assert names(module) == [
        "quantize", "conv2d", "add_relu", "mul", "mul_scalar", "cat", "reshape", "linear", "dequantize",
    ]  # fmt: skip
    nodes = {n.name: n for n in module.graph.nodes}
    conv = nodes["conv2d"]
    assert conv.target is OPS["conv2d"]
    assert [arg.target for arg in conv.args[1:]] == ["inner.0.conv.weight", "inner.0.conv.bias"]
    assert conv.kwargs["relu"] is True
    assert conv.kwargs["qparams"] == conv.meta["tensor"].qparams
    assert conv.meta["tensor"][:2] == ((2, 3, 8, 8), "quint8")
    assert conv.meta["module"] == "inner.0.conv"
    assert nodes["dequantize"].target is EXACT["dequantize"]
    assert module.inner.get_submodule("0").conv.weight is converted.inner[0].conv.weight
    assert same(fx.record(module, x)(x), converted(x))


LAYERS = {
    "transposed": (nn.Sequential(nn.ConvTranspose2d(3, 4, 2, stride=2), nn.Upsample(scale_factor=2)), IMAGES),
    "padded": (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.MaxPool2d(2)), IMAGES),
    "norms": (
        nn.Sequential(
            nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.LeakyReLU(), nn.Hardswish(), nn.Sigmoid(), nn.InstanceNorm2d(4),
            nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LayerNorm(16), nn.ELU(),
        ),
        IMAGES,
    ),
    "lstm": (nn.quantizable.LSTM(3, 4), (4, 2, 3)),
}  # fmt: skip


@pytest.mark.parametrize("which", LAYERS)
def test_static_layers(which: str) -> None:
    layer, shape = LAYERS[which]
    call = (lambda m, x: (m(x)[0], m(x)[1][1])) if which == "lstm" else None
    replays(static(Between(copy.deepcopy(layer), call), ot.randn(*shape)), ot.randn(*shape))


@pytest.mark.parametrize("quantized", [False, True])
def test_attention_with_masks(quantized: bool) -> None:
    x = ot.randn(5, 2, 8)
    padding = ot.tensor(np.array([[0, 0, 0, 1, 1], [0, 0, 0, 0, 1]], bool))

    def call(m: Any, x: Any, mask: Any) -> Any:
        return m(x, x, x, key_padding_mask=mask)[0]

    kind = nn.quantizable.MultiheadAttention if quantized else nn.MultiheadAttention
    model = Between(kind(8, 2, add_bias_kv=True, add_zero_attn=True), call).eval()
    module = replays(static(model, x, padding) if quantized else model, x, padding)
    assert ("attend_integer" in names(module)) == quantized


@pytest.mark.parametrize("dtype", [None, ot.qint8, ot.float16], ids=str)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers(kind: type, dtype: Any) -> None:
    for options in ({}, {"num_layers": 2, "bidirectional": True, "batch_first": True}):
        model = kind(3, 4, **options).eval()
        model = model if dtype is None else dynamic(model, kind, dtype)
        module = replays(model, ot.randn(2, 5, 3))
        assert ("recurrent" in names(module)) == (dtype is ot.qint8)
    packed = pack_padded_sequence(ot.randn(4, 3, 3), [4, 2, 1])
    replays(nn.Sequential(dynamic(kind(3, 4), kind, dtype) if dtype else kind(3, 4)).eval(), packed)


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell])
def test_dynamic_cells(kind: type) -> None:
    replays(dynamic(kind(3, 4), kind, ot.qint8), ot.randn(2, 3))


@pytest.mark.parametrize("dtype", [ot.qint8, ot.float16], ids=str)
def test_dynamic_linear(dtype: Any) -> None:
    module = replays(dynamic(nn.Sequential(nn.Linear(8, 4), nn.ReLU()), nn.Linear, dtype), ot.randn(2, 8))
    assert names(module) == ["linear_dynamic" if dtype is ot.qint8 else "linear", "relu"]


def test_tables() -> None:
    ids = ot.tensor([[1, 2, 3], [4, 5, 0]])
    replays(nn.Embedding(10, 4), ids)
    replays(nn.Embedding(10, 4), ot.Tensor(ids.numpy().astype(np.int32)))
    replays(dynamic(nn.Embedding(10, 4), nn.Embedding, ot.quint8), ids)
    replays(dynamic(nn.EmbeddingBag(10, 4, mode="sum"), nn.EmbeddingBag, ot.quint4x2), ids)
    replays(nn.EmbeddingBag(10, 4, padding_idx=0), ot.tensor([1, 2, 0, 4, 5]), ot.tensor([0, 0]))
    table = ot.ops.quantized.embedding_bag_prepack(
        ot.quantize_per_channel(ot.randn(6, 4), np.full(6, 0.1), np.zeros(6), 0, ot.quint8)
    )
    assert names(replays(lambda i: ot.ops.quantized.embedding_byte(table, i) * 2, ids))[1] == "mul"


def test_functions_of_tensors() -> None:
    def model(x: Any, i: Any) -> Any:
        values, where = x.max(1)
        ordered = ot.sort(x, 1)
        y = x.masked_fill(x > 0, 2.0) + ot.argmax(x, 1, keepdim=True).float()
        parts = x.split(1, 0)[1], x[:, i], x.T, -x / 2, ot.stack([x, y]), (x == y).all()
        return values, where, *ordered, *parts, x.to(np.int32), F.softmax(y, -1)

    replays(model, ot.randn(3, 4), ot.tensor([1, 0, 3, 2]))


def test_quantized_library() -> None:
    q = ot.ops.quantized
    weight = ot.quantize_per_tensor(ot.randn(4, 6), 0.02, 0, ot.qint8)
    kernel = ot.quantize_per_tensor(ot.randn(2, 1, 3), 0.02, 0, ot.qint8)
    packed, conv = q.linear_prepack(weight, ot.randn(4)), q.conv1d_prepack(kernel, None, 1, 1)
    int4 = q.linear_prepack_int4(ot.ops.int4.Int4Weight.quantize(ot.randn(4, 32), group_size=32))

    def model(x: Any, y: Any) -> Any:
        a = ot.quantize_per_tensor(x, 0.1, 10, ot.quint8)
        b = q.add_scalar_relu(q.mul_scalar(q.add(a, a, 0.2, 3), 2.0), 0.5)
        c = q.linear_relu(b, packed, 0.1, 100)
        c = q.cat([c, c], 1, 0.1, 100).view(2, -1).transpose(0, 1).contiguous().permute(1, 0)
        d = q.conv1d(c.reshape(2, 1, -1), conv, 0.1, 3).flatten(1)
        return d, d.int_repr(), F.hardtanh(c).dequantize(), q.linear_dynamic(x, packed), q.linear_dynamic_int4(y, int4)

    x, y = ot.randn(2, 6), ot.randn(2, 32)
    recorded = fx.record(model, (x, y))
    assert same(recorded(*others((x, y))), model(*others((x, y))))
    replays(lambda v: v.relu().dequantize(), ot.quantize_per_tensor(x, 0.1, 10, ot.quint8))


def test_inputs_of_all_kinds() -> None:
    x = ot.randn(2, 3)
    replays(lambda a, b: a + b * 2, x, x)
    replays(lambda a, states: (states[0] * a, states[1]), x, (ot.randn(2, 3), ot.randn(3)))
    recorded = fx.record(lambda a, *, scale, n=2: {"y": (a * scale, n)}, x, kwargs={"scale": x})
    assert same(recorded(x, scale=x)["y"], (x * x, 2))


# --- what would become a constant unseen ----------------------------------------------------------------------------


@fx.wrap
def by_numpy(x: Any) -> Any:
    return ot.tensor(np.exp(np.asarray(x)))


class ByNumpy(nn.Module):
    def forward(self, x: Any) -> Any:
        return ot.relu(ot.tensor(np.exp(x.numpy())))  # HERE ByNumpy


def by_item(x: Any) -> Any:
    return x * x.sum().item()  # HERE by_item


def by_random(x: Any) -> Any:
    return x + ot.randn(3)  # HERE by_random


def by_write(x: Any) -> Any:
    return (x * 1).add_(2.0)  # HERE by_write


def by_filling(x: Any) -> Any:
    y = ot.zeros(3)
    y[:] = x
    return y + 1  # HERE by_filling


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (ByNumpy(), "enters relu: in the graph it would be a constant"),
        (by_item, "a number or setting of mul follows from the values of the inputs"),
        (by_random, "or from random numbers, enters add"),
        (by_write, "written in place"),
        (by_filling, "enters add"),
    ],
    ids=["ByNumpy", "by_item", "by_random", "by_write", "by_filling"],
)
def test_hidden_constants_are_refused_with_their_line(model: Any, words: str) -> None:
    name = getattr(model, "__name__", type(model).__name__)
    with open(__file__, encoding="utf-8") as file:
        line = next(i for i, text in enumerate(file, 1) if text.rstrip().endswith(f"# HERE {name}"))
    with pytest.raises(fx.TraceError, match=words) as caught:
        fx.record(model, ot.randn(3))
    assert str(caught.value).startswith(f"{__file__}:{line}: ")
    assert RECORDING.recorder is None


def test_leaves_and_wrapped_functions_stay_one_step() -> None:
    x = ot.randn(3)
    module = replays(nn.Sequential(ByNumpy(), nn.ReLU()), x, leaves=(ByNumpy,))
    assert [n.op for n in module.graph.nodes] == ["placeholder", "call_module", "call_function", "output"]
    assert [n.target for n in replays(lambda v: by_numpy(v) + 1, x).graph.nodes][1] is by_numpy


def test_branches_are_resolved_with_a_warning() -> None:
    def model(x: Any) -> Any:
        return x * 2 if x.sum() > 0 else x.neg()

    with pytest.warns(UserWarning, match="the model goes another way on other values"):
        recorded = fx.record(model, ot.ones(3))
    assert names(recorded) == ["mul"]


def test_prepared_models_and_observers() -> None:
    model = Between(nn.Linear(3, 2))
    model.qconfig = tq.get_default_qat_qconfig("fbgemm")
    with pytest.raises(fx.TraceError, match="convert it first"):
        fx.record(tq.prepare_qat(copy.deepcopy(model).train()), ot.randn(2, 3))
    model.qconfig = tq.get_default_qconfig("fbgemm")
    prepared = tq.prepare(model.eval())
    x = ot.randn(2, 3)
    recorded = fx.record(prepared, x)
    observer = prepared.quant.activation_post_process
    assert int(observer.histogram.sum()) == 6  # the second run would have doubled it
    assert same(recorded(x), prepared(x))


def test_other_threads_are_not_recorded() -> None:
    stop = threading.Event()
    layer, noise = nn.Linear(3, 3), ot.randn(2, 3)

    def compute() -> None:
        while not stop.is_set():
            layer(noise).relu()

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        for _ in range(5):
            assert names(replays(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), ot.randn(4, 3))) == ["linear", "relu"]
    finally:
        stop.set()
        thread.join()
