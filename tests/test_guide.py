"""The examples of PyTorch's quantization guide run with nothing changed but their import.

They are written out here in other words; what is kept is every call they make, in its order.
"""

from __future__ import annotations

import pytest

import octensor

STATIC = """
import octensor as torch

# A float model with one convolution that will run in int8.
class M(torch.nn.Module):
    def __init__(self):
        super(M, self).__init__()
        self.quant = torch.quantization.QuantStub()      # float -> quantized
        self.conv = torch.nn.Conv2d(1, 1, 1)
        self.relu = torch.nn.ReLU()
        self.dequant = torch.quantization.DeQuantStub()  # quantized -> float

    def forward(self, x):
        x = self.quant(x)
        x = self.conv(x)
        x = self.relu(x)
        x = self.dequant(x)
        return x

model_fp32 = M()
model_fp32.eval()
model_fp32.qconfig = torch.quantization.get_default_qconfig('fbgemm')
model_fp32_fused = torch.quantization.fuse_modules(model_fp32, [['conv', 'relu']])
model_fp32_prepared = torch.quantization.prepare(model_fp32_fused)

# Calibration, here with random numbers.
input_fp32 = torch.randn(4, 1, 4, 4)
model_fp32_prepared(input_fp32)

model_int8 = torch.quantization.convert(model_fp32_prepared)
res = model_int8(input_fp32)
"""


DYNAMIC = """
import octensor as torch

class M(torch.nn.Module):
    def __init__(self):
        super(M, self).__init__()
        self.fc = torch.nn.Linear(4, 4)

    def forward(self, x):
        x = self.fc(x)
        return x

model_fp32 = M()
model_int8 = torch.quantization.quantize_dynamic(
    model_fp32,            # what to quantize
    {torch.nn.Linear},     # layers of which types
    dtype=torch.qint8)     # what becomes of their weights

input_fp32 = torch.randn(4, 4, 4, 4)
res = model_int8(input_fp32)
"""

QAT = """
import octensor as torch

class M(torch.nn.Module):
    def __init__(self):
        super(M, self).__init__()
        self.quant = torch.quantization.QuantStub()
        self.conv = torch.nn.Conv2d(1, 1, 1)
        self.bn = torch.nn.BatchNorm2d(1)
        self.relu = torch.nn.ReLU()
        self.dequant = torch.quantization.DeQuantStub()

    def forward(self, x):
        x = self.quant(x)
        x = self.conv(x)
        x = self.bn(x)
        x = self.relu(x)
        x = self.dequant(x)
        return x

model_fp32 = M()
model_fp32.train()
model_fp32.qconfig = torch.quantization.get_default_qat_qconfig('fbgemm')
model_fp32_fused = torch.quantization.fuse_modules(model_fp32, [['conv', 'bn', 'relu']])
model_fp32_prepared = torch.quantization.prepare_qat(model_fp32_fused)

training_loop(model_fp32_prepared)

model_fp32_prepared.eval()
model_int8 = torch.quantization.convert(model_fp32_prepared)
input_fp32 = torch.randn(4, 1, 4, 4)
res = model_int8(input_fp32)
"""


FX = """
import octensor as torch
import octensor.quantization.quantize_fx as quantize_fx
import copy

model_fp = UserModel()

# dynamic and weight-only

model_to_quantize = copy.deepcopy(model_fp)
model_to_quantize.eval()
qconfig_dict = {"": torch.quantization.default_dynamic_qconfig}
model_prepared = quantize_fx.prepare_fx(model_to_quantize, qconfig_dict)
# nothing to calibrate
model_dynamic = model_quantized = quantize_fx.convert_fx(model_prepared)

# static

model_to_quantize = copy.deepcopy(model_fp)
qconfig_dict = {"": torch.quantization.get_default_qconfig('qnnpack')}
model_to_quantize.eval()
model_prepared = quantize_fx.prepare_fx(model_to_quantize, qconfig_dict)
calibrate(model_prepared)
model_static = model_quantized = quantize_fx.convert_fx(model_prepared)

# trained for static

model_to_quantize = copy.deepcopy(model_fp)
qconfig_dict = {"": torch.quantization.get_default_qat_qconfig('qnnpack')}
model_to_quantize.train()
model_prepared = quantize_fx.prepare_qat_fx(model_to_quantize, qconfig_dict)
training_loop(model_prepared)
model_trained = model_quantized = quantize_fx.convert_fx(model_prepared)

# fusion

model_to_quantize = copy.deepcopy(model_fp)
model_fused = quantize_fx.fuse_fx(model_to_quantize)
"""


class UserModel(octensor.nn.Module):
    """A model as the guide has it in mind: written without a thought of quantization."""

    def __init__(self):
        super().__init__()
        self.conv = octensor.nn.Conv2d(1, 1, 1)
        self.bn = octensor.nn.BatchNorm2d(1)
        self.relu = octensor.nn.ReLU()
        self.fc = octensor.nn.Linear(4, 4)

    def forward(self, x):
        y = self.relu(self.bn(self.conv(x)))
        return self.fc(y + x)


@pytest.mark.rows(243, 244, 245, 246)
def test_graph_mode_examples():
    data = octensor.randn(4, 1, 4, 4)
    names: dict = {"UserModel": UserModel, "training_loop": training_loop, "calibrate": lambda model: model(data)}
    octensor.manual_seed(0)
    exec(FX, names)
    model = names["model_fp"].eval()
    assert model.stage == "float"
    for kind, stage, decibels in (("dynamic", "dynamic", 30), ("static", "static", 20)):
        quantized = names[f"model_{kind}"]
        assert quantized.fc.stage == stage
        assert octensor.quantization.sqnr(model(data).detach(), quantized(data)) > decibels
    assert names["model_trained"].stage == "static"
    assert not hasattr(names["model_fused"], "bn")
    assert octensor.ao.quantization.quantize_fx is octensor.quantization.quantize_fx


@pytest.mark.rows(166, 222, 298)
def test_dynamic_example():
    names: dict = {}
    octensor.manual_seed(0)
    exec(DYNAMIC, names)
    model, result = names["model_int8"], names["res"]
    assert isinstance(result, octensor.Tensor)
    assert result.shape == (4, 4, 4, 4)
    assert model.fc.stage == "dynamic"
    assert names["model_fp32"].fc.stage == "float"
    expected = names["model_fp32"](names["input_fp32"]).numpy()
    assert 0 < abs(result.numpy() - expected).max() < 0.05


def training_loop(model):
    """What the guide leaves out: a few steps towards any goal."""
    x, y = octensor.randn(16, 1, 4, 4), octensor.rand(16, 1, 4, 4)
    optimizer = octensor.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(8):
        optimizer.zero_grad()
        octensor.nn.MSELoss()(model(x), y).backward()
        optimizer.step()


@pytest.mark.rows(163, 164, 214, 218)
def test_qat_example():
    names: dict = {"training_loop": training_loop}
    octensor.manual_seed(0)
    exec(QAT, names)
    prepared, model, result = names["model_fp32_prepared"], names["model_int8"], names["res"]
    assert prepared.conv.stage == "qat"
    assert model.conv.stage == "static"
    assert prepared.conv.weight.item() != names["model_fp32"].conv.weight.item()  # it was trained
    assert result.shape == (4, 1, 4, 4)
    assert result.numpy().tobytes() == prepared(names["input_fp32"]).numpy().tobytes()


@pytest.mark.rows(213, 217, 219, 230)
def test_static_example():
    names: dict = {}
    octensor.manual_seed(0)
    exec(STATIC, names)
    model, result = names["model_int8"], names["res"]
    assert isinstance(result, octensor.Tensor)
    assert result.shape == (4, 1, 4, 4)
    assert model.conv.stage == "static"
    assert model.conv.weight.dtype is octensor.qint8
    expected = names["model_fp32"](names["input_fp32"])
    steps = model.quant.scale * abs(names["model_fp32"].conv.weight.item()) + model.conv.scale
    assert abs(result.numpy() - expected.numpy()).max() <= 2 * steps


def test_the_engine_can_be_named_as_the_guide_does():
    before = octensor.backends.quantized.engine
    octensor.backends.quantized.engine = "qnnpack"
    assert octensor.backends.quantized.engine == "qnnpack"
    octensor.backends.quantized.engine = before
