"""Fashion-MNIST: how much data calibrates, and which range an observer should choose.

Five calibration sets of each size that share no image, and three observers. *tensors* is the signal to noise of what
layers hand on, each rounded by itself, on the images that calibrated; *outputs* is that of the network's outputs, on
test images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import common
import numpy as np
from fashion import WEIGHTS, images
from fashion_mnist import quantize
from networks import DepthwiseCNN

import octensor as ot
from octensor import nn
from octensor import quantization as tq
from octensor.quantization import calibrate, quantize_fx, sqnr

SIZES, SETS, TEST = (100, 500, 2000), 5, 2000
OBSERVERS = {
    "HistogramObserver": tq.HistogramObserver,
    "MSEObserver": tq.MSEObserver,
    "MinMaxObserver": tq.MinMaxObserver,
}


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this script."""
    parser.add_argument("--weights", type=Path, default=Path(WEIGHTS), help="what fashion.py wrote")


def qconfig(activation: object) -> tq.QConfig:
    """Return an observer of activations, with the usual one of weights."""
    return tq.QConfig(activation, tq.default_per_channel_weight_observer)


def rounded(model: nn.Module, x: np.ndarray, observer: type) -> float:
    """Return the mean signal to noise, in dB, of all observed tensors after rounding to the observer's codes."""
    seen = calibrate(quantize_fx.prepare_fx(model, {"": qconfig(tq.RecordingObserver)}), x)
    found = []
    for recorder in seen.modules():
        if isinstance(recorder, tq.RecordingObserver) and recorder.get_tensor_value():
            batches = [np.asarray(value) for value in recorder.get_tensor_value()]
            made = observer()
            for batch in batches:
                made(ot.from_numpy(batch))
            scale, zero_point = made.calculate_qparams()
            values = np.concatenate([batch.reshape(-1) for batch in batches])
            codes = ot.quantize_per_tensor(ot.from_numpy(values), float(scale), int(zero_point), ot.quint8)
            found.append(sqnr(values, np.asarray(codes.dequantize())))
    return float(np.mean(found))


def main() -> None:
    given = common.arguments(__doc__, options)
    model = DepthwiseCNN()
    model.load_state_dict(ot.load(given.weights))
    model.eval()
    train, x = images(given.data, "train"), images(given.data, "t10k")[:TEST]
    expected, rows = common.run(model, x, 200), []
    for size in SIZES:
        parts = [train[start : start + size] for start in range(0, len(train), len(train) // SETS)]
        for name, observer in OBSERVERS.items():
            outputs = [sqnr(expected, common.run(quantize(model, part, qconfig(observer)), x, 200)) for part in parts]
            spread = " ".join(f"{value:.1f}" for value in outputs)
            rows.append([size, name, f"{rounded(model, parts[0], observer):.1f}", spread, f"{np.mean(outputs):.1f}"])
            print(*rows[-1], flush=True)
    common.table("Signal to noise, dB", ["observer", "tensors", "outputs, five sets", "mean"], rows)


if __name__ == "__main__":
    main()
