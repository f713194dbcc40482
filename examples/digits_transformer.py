"""Read digits row by row with a Transformer encoder: in float, with dynamic int8 and with static int8.

pip install octensor scikit-learn
python examples/digits_transformer.py
"""

from __future__ import annotations

import digits
import numpy as np

import octensor as ot
from octensor import nn
from octensor import quantization as tq


class RowEncoder(nn.Module):
    """Two encoder layers over the 8 rows of an image; each row says which one it is by a one-hot code."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.quant = tq.QuantStub()
        self.embed = nn.Linear(16, width)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.flatten = nn.Flatten()
        self.classify = nn.Linear(8 * width, 10)
        self.dequant = tq.DeQuantStub()

    def forward(self, x):
        rows = x.reshape(-1, 8, 8)
        places = ot.from_numpy(np.broadcast_to(np.eye(8, dtype=np.float32), rows.shape).copy())
        x = self.encoder(self.embed(self.quant(ot.cat([rows, places], 2))))
        return self.dequant(self.classify(self.flatten(x)))


def static(model: nn.Module, images) -> nn.Module:
    """Quantize everything, with the encoder layers in their observable form."""
    model.qconfig = tq.get_default_qconfig()
    swaps = {nn.TransformerEncoderLayer: nn.quantizable.TransformerEncoderLayer}
    prepared = tq.prepare(model, prepare_custom_config_dict={"float_to_observed_custom_module_class": swaps})
    return tq.convert(tq.calibrate(prepared, images))


def main(epochs: int = 15) -> dict[str, float]:
    ot.manual_seed(0)
    x, y, x_test, y_test = digits.load()
    model = digits.train(RowEncoder(), x, y, epochs, lr=2e-3)
    models = {"float": model, "dynamic int8": tq.quantize_dynamic(model), "static int8": static(model, x[:500])}
    accuracies = {name: digits.accuracy(each, x_test, y_test) for name, each in models.items()}
    for name, accuracy in accuracies.items():
        print(f"{name:<14} {accuracy:.2%}")
    return accuracies


if __name__ == "__main__":
    main()
