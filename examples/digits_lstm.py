"""Read digits row by row with an LSTM: in float, with dynamic int8 and with static int8. Takes half a minute.

pip install octensor scikit-learn
python examples/digits_lstm.py

Dynamic quantization needs no data: weights are int8, each input is quantized as it comes. Static quantization observes
every intermediate result on calibration data; the layer then runs in integers from the first gate to the last.
"""

from __future__ import annotations

import digits

import octensor as ot
from octensor import nn
from octensor import quantization as tq


class RowReader(nn.Module):
    """An LSTM over the 8 rows of an image, and a linear layer on its last state."""

    def __init__(self, hidden: int = 48) -> None:
        super().__init__()
        self.quant = tq.QuantStub()
        self.rows = nn.LSTM(8, hidden, batch_first=True)
        self.classify = nn.Linear(hidden, 10)
        self.dequant = tq.DeQuantStub()

    def forward(self, x):
        states, _ = self.rows(self.quant(x.reshape(-1, 8, 8)))
        return self.dequant(self.classify(states[:, -1]))


def static(model: nn.Module, images) -> nn.Module:
    """Quantize everything, with the LSTM in its observable form."""
    model.qconfig = tq.get_default_qconfig()
    swaps = {"float_to_observed_custom_module_class": {nn.LSTM: nn.quantizable.LSTM}}
    prepared = tq.prepare(model, prepare_custom_config_dict=swaps)
    return tq.convert(tq.calibrate(prepared, images))


def main(epochs: int = 25) -> dict[str, float]:
    ot.manual_seed(0)
    x, y, x_test, y_test = digits.load()
    model = digits.train(RowReader(), x, y, epochs)
    models = {"float": model, "dynamic int8": tq.quantize_dynamic(model), "static int8": static(model, x[:500])}
    accuracies = {name: digits.accuracy(each, x_test, y_test) for name, each in models.items()}
    for name, accuracy in accuracies.items():
        print(f"{name:<14} {accuracy:.2%}")
    return accuracies


if __name__ == "__main__":
    main()
