"""Quantization-aware training of the digits network, with 8-bit and with 4-bit weights.

pip install octensor scikit-learn
python examples/digits_qat.py

The network is trained in float, fused in train mode, and trained on with fake-quantize modules in its slots. Then the
ranges are frozen, then the statistics of the batch norms, and the model is converted.
"""

from __future__ import annotations

import copy

import digits

import octensor as ot
from octensor import nn
from octensor import quantization as tq

EIGHT_BITS = tq.get_default_qat_qconfig("fbgemm")
FOUR_BITS = tq.QConfig(
    activation=EIGHT_BITS.activation,
    weight=tq.FakeQuantize.with_args(
        observer=tq.MovingAveragePerChannelMinMaxObserver,
        quant_min=-8,
        quant_max=7,
        dtype=ot.qint8,
        qscheme=ot.per_channel_symmetric,
        ch_axis=0,
    ),
)


def train_quantized(model: nn.Module, qconfig: tq.QConfig, x, y, epochs: int) -> nn.Module:
    """Train a float model on with fake quantization; return the converted model."""
    model = tq.fuse_modules(copy.deepcopy(model).train(), digits.DigitsNet.FUSE)
    model.qconfig = qconfig
    model = tq.prepare_qat(model)
    digits.train(model, x, y, epochs, lr=1e-3)
    model.apply(tq.disable_observer)
    model.apply(nn.intrinsic.qat.freeze_bn_stats)
    digits.train(model, x, y, max(epochs // 2, 1), lr=3e-4)
    return tq.convert(model)


def main(epochs: int = 10, qat_epochs: int = 6) -> dict[str, float]:
    ot.manual_seed(0)
    x, y, x_test, y_test = digits.load()
    model = digits.train(digits.DigitsNet(), x, y, epochs)
    models = {
        "float": model,
        "8-bit weights": train_quantized(model, EIGHT_BITS, x, y, qat_epochs),
        "4-bit weights": train_quantized(model, FOUR_BITS, x, y, qat_epochs),
    }
    accuracies = {name: digits.accuracy(each, x_test, y_test) for name, each in models.items()}
    for name, accuracy in accuracies.items():
        print(f"{name:<14} {accuracy:.2%}")
    return accuracies


if __name__ == "__main__":
    main()
