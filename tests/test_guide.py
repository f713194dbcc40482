"""The static example of PyTorch's quantization guide runs with nothing changed but its import.

The example is written out here in its own words; what is kept is every call it makes, in its order.
"""

from __future__ import annotations

import octensor

EXAMPLE = """
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


def test_static_example():
    names: dict = {}
    octensor.manual_seed(0)
    exec(EXAMPLE, names)
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
