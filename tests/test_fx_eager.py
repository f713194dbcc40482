"""Graph mode and eager mode are one thing: the same model becomes the same integers, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.nn import functional as F
from octensor.quantization import quantize_fx as qfx


class Residual(nn.Module):
    """A residual block, a concatenation, products with numbers and tensors; twice: as each mode wants it."""

    fusions = (["conv1", "bn1", "relu"], ["conv2", "bn2"])

    def __init__(self, eager):
        super().__init__()
        self.eager = eager
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(16, 5)
        if eager:
            self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
            self.sum, self.join, self.twice = tq.FloatFunctional(), tq.FloatFunctional(), tq.FloatFunctional()

    def forward(self, x):
        if self.eager:
            x = self.quant(x)
        y = self.relu(self.bn1(self.conv1(x)))
        z = self.bn2(self.conv2(y))
        z = self.sum.add_relu(z, y) if self.eager else F.relu(z + y)
        z = self.join.cat([z, y], 1) if self.eager else ot.cat([z, y], 1)
        z = self.pool(z).mean((2, 3))
        z = self.twice.mul_scalar(z, 2.0) if self.eager else z * 2.0
        z = self.fc(z)
        return self.dequant(z) if self.eager else z


class Plain(nn.Module):
    """A chain with everything that is observed by itself."""

    fusions = (["conv", "relu1"], ["fc1", "relu2"])

    def __init__(self, eager):
        super().__init__()
        self.eager = eager
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.relu1 = nn.ReLU()
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2)
        self.act = nn.Hardswish()
        self.norm = nn.GroupNorm(2, 6)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.flat = nn.Flatten()
        self.fc1 = nn.Linear(24, 7)
        self.relu2 = nn.ReLU()
        self.sigmoid = nn.Sigmoid()
        self.elu = nn.ELU()
        if eager:
            self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()

    def forward(self, x):
        x = self.quant(x) if self.eager else x
        x = self.norm(self.act(self.up(self.relu1(self.conv(x)))))
        x = self.sigmoid(self.elu(self.relu2(self.fc1(self.flat(self.pool(x))))))
        return self.dequant(x) if self.eager else x


class Shared(nn.Module):
    """One layer called twice, two inputs, a product of tensors."""

    fusions = ()

    def __init__(self, eager):
        super().__init__()
        self.eager = eager
        self.fc = nn.Linear(6, 6)
        if eager:
            self.quant_a, self.quant_b = tq.QuantStub(), tq.QuantStub()
            self.dequant, self.product = tq.DeQuantStub(), tq.FloatFunctional()

    def forward(self, a, b):
        if self.eager:
            a, b = self.quant_a(a), self.quant_b(b)
        a = self.fc(self.fc(a))
        y = self.product.mul(a, b) if self.eager else a * b
        return self.dequant(y) if self.eager else y


class Sequence(nn.Module):
    """A layer made of layers, each observed by itself."""

    fusions = ()

    def __init__(self, eager):
        super().__init__()
        self.eager = eager
        self.lstm = nn.quantizable.LSTM(6, 5)
        self.fc = nn.Linear(5, 3)
        if eager:
            self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()

    def forward(self, x):
        x = self.quant(x) if self.eager else x
        y = self.fc(self.lstm(x)[0])
        return self.dequant(y) if self.eager else y


IMAGE, ROWS = (4, 3, 9, 9), (16, 6)
MODELS = {"residual": (Residual, (IMAGE,)), "plain": (Plain, (IMAGE,)), "shared": (Shared, (ROWS, ROWS))}
MODELS["sequence"] = Sequence, ((5, 3, 6),)


def pair(name):
    """Return the two forms of a model with the same parameters, and its inputs."""
    kind, shapes = MODELS[name]
    ot.manual_seed(1)
    eager, graph = kind(True), kind(False)
    inputs = [ot.randn(*shape) for shape in shapes]
    with ot.no_grad():
        for _ in range(2):  # batch norms get statistics
            graph(*inputs)
    eager.load_state_dict(graph.state_dict(), strict=False)
    return eager, graph, inputs


def equal(a, b):
    return a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


@pytest.mark.rows(244, 246, 248)
@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
@pytest.mark.parametrize("name", MODELS)
def test_static_quantization(name, engine):
    eager, graph, inputs = pair(name)
    eager.eval(), graph.eval()
    eager.qconfig = tq.get_default_qconfig(engine)
    fused = tq.fuse_modules(eager, list(map(list, eager.fusions))) if eager.fusions else eager
    prepared = tq.prepare(fused)
    prepared_graph = qfx.prepare_fx(graph, {"": tq.get_default_qconfig(engine)})
    assert equal(prepared(*inputs), prepared_graph(*inputs))
    static, static_graph = tq.convert(prepared), qfx.convert_fx(prepared_graph)
    assert equal(static(*inputs), static_graph(*inputs))
    assert tq.sqnr(graph(*inputs).detach(), static_graph(*inputs)) > 20
    recorded = ot.fx.record(static_graph, inputs)
    assert equal(recorded(*inputs), static_graph(*inputs))
    assert static_graph.stage == "static"
    assert graph.stage == "float"  # the model itself stays as it was


@pytest.mark.rows(245, 246)
@pytest.mark.parametrize("name", MODELS)
def test_quantization_aware_training(name):
    eager, graph, inputs = pair(name)
    eager.train(), graph.train()
    qconfig = tq.get_default_qat_qconfig("fbgemm")
    eager.qconfig = qconfig
    fused = tq.fuse_modules(eager, list(map(list, eager.fusions))) if eager.fusions else eager
    models = tq.prepare_qat(fused), qfx.prepare_qat_fx(graph, {"": qconfig})
    for model in models:
        optimizer = ot.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            (model(*inputs) ** 2).mean().backward()
            optimizer.step()
        model.eval()
    static, static_graph = tq.convert(models[0]), qfx.convert_fx(models[1])
    assert equal(static(*inputs), static_graph(*inputs))
    # In eval mode the prepared graph returns what the converted one will.
    assert equal(models[1](*inputs), static_graph(*inputs))


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 6, bidirectional=True)
        self.norm = nn.LayerNorm(12)
        self.encoder = nn.TransformerEncoderLayer(12, 2, 16)
        self.fc = nn.Linear(12, 5)

    def forward(self, ids):
        y, _ = self.lstm(self.table(ids))
        return self.fc(self.encoder(self.norm(y))) + self.fc.bias


@pytest.mark.rows(265, 266)
def test_dynamic_and_weight_only():
    ot.manual_seed(2)
    model = Tagger().eval()
    ids = ot.tensor(np.arange(12).reshape(6, 2) % 20)
    dynamic = tq.quantize_dynamic(model)
    graph = qfx.convert_fx(qfx.prepare_fx(model, {"": tq.default_dynamic_qconfig}))
    assert equal(dynamic(ids), graph(ids))
    stages = {path: graph.get_submodule(path).stage for path in ("table", "lstm", "fc", "norm", "encoder")}
    assert stages == {"table": "float", "lstm": "dynamic", "fc": "dynamic", "norm": "float", "encoder": "dynamic"}

    tables = tq.quantize_dynamic(model, dtype=ot.quint8)
    entry = {"object_type": [(nn.Embedding, tq.float_qparams_weight_only_qconfig)]}
    graph = qfx.convert_fx(qfx.prepare_fx(model, entry))
    assert graph.table.stage == "weight-only"
    assert equal(tables(ids), graph(ids))

    halves = tq.quantize_dynamic(model, dtype=ot.float16)
    graph = qfx.convert_fx(qfx.prepare_fx(model, {"": tq.float16_dynamic_qconfig}))
    assert graph.fc.weight.dtype == np.float16
    assert equal(halves(ids), graph(ids))
