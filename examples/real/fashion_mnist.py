"""Fashion-MNIST: a depthwise CNN that PyTorch trained (`fashion`), calibrated and converted here; 10,000 test images.

With ``--qat STEPS`` it is then trained further with its quantization simulated, and converted again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import common
import latency
import numpy as np
import peer
from fashion import WEIGHTS, images, labels
from networks import DepthwiseCNN

import octensor as ot
from octensor import nn
from octensor import quantization as tq
from octensor.quantization import calibrate, get_default_qat_qconfig, get_default_qconfig, quantize_fx, sqnr

CALIBRATION, HELD_OUT = 500, 2000
ACTIVATIONS = {
    "histogram (default)": tq.default_histogram_observer,
    "extremes": tq.MinMaxObserver,
    "least squares": tq.MSEObserver,
    "99.999 %": tq.PercentileObserver.with_args(percentile=99.999),
}


def quantize(model: nn.Module, x: np.ndarray, qconfig: tq.QConfig) -> nn.Module:
    """Return the int8 model, calibrated."""
    prepared = quantize_fx.prepare_fx(model, {"": qconfig})
    return quantize_fx.convert_fx(calibrate(prepared, x))


def choose(model: nn.Module, calibration: np.ndarray, held_out: np.ndarray) -> nn.Module:
    """Return the int8 model of the observer that follows float best on images that did not calibrate.

    They are training images: the test set has no say in the choice.
    """
    expected, found = common.run(model, held_out, 200), {}
    for name, activation in ACTIVATIONS.items():
        made = quantize(model, calibration, tq.QConfig(activation, tq.default_per_channel_weight_observer))
        found[name] = sqnr(expected, common.run(made, held_out, 200)), made
        print(f"observer {name}: {found[name][0]:.2f} dB on {len(held_out)} training images held out")
    return max(found.values(), key=lambda pair: pair[0])[1]


def train_quantized(model: nn.Module, x: np.ndarray, y: np.ndarray, steps: int) -> nn.Module:
    """Return the int8 model after some steps of training with simulated quantization."""
    prepared = quantize_fx.prepare_qat_fx(model.train(), {"": get_default_qat_qconfig()})
    optimizer, loss = ot.optim.Adam(prepared.parameters(), lr=1e-4), nn.CrossEntropyLoss()
    rng = np.random.default_rng(0)
    for _ in range(steps):
        batch = rng.integers(0, len(x), 64)
        optimizer.zero_grad()
        loss(prepared(ot.from_numpy(x[batch])), ot.from_numpy(y[batch])).backward()
        optimizer.step()
    model.eval()
    return quantize_fx.convert_fx(prepared.eval())


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this script."""
    parser.add_argument("--weights", type=Path, default=Path(WEIGHTS), help="what fashion.py wrote")
    parser.add_argument("--qat", type=int, default=0, metavar="STEPS", help="train with simulated quantization")


def main() -> None:
    given = common.arguments(__doc__, options, latency.options)
    latency.hold(given)
    model = DepthwiseCNN()
    model.load_state_dict(ot.load(given.weights))
    model.eval()
    train, x, y = images(given.data, "train"), images(given.data, "t10k"), labels(given.data, "t10k")
    calibration = train[:CALIBRATION]
    contenders = {
        "float": common.Own(model, x[:1]),
        "octensor, default": common.Own(quantize(model, calibration, get_default_qconfig()), x[:1]),
        **peer.static("depthwise_cnn", "DepthwiseCNN", model, calibration),
    }
    if given.latency:
        latency.table("Fashion-MNIST", contenders, x[:1])
        return
    chosen = choose(model, calibration, train[CALIBRATION : CALIBRATION + HELD_OUT])
    contenders["octensor, chosen"] = common.Own(chosen, x[:1])
    if given.qat:
        trained = train_quantized(model, train, labels(given.data, "train"), given.qat)
        contenders["octensor, trained"] = common.Own(trained, x[:1])
    expected, outputs = common.outputs(contenders, x, 200)
    common.table(
        "Fashion-MNIST, 10,000 images",
        outputs,
        [
            ["accuracy", *(f"{np.mean(z.argmax(1) == y):.4f}" for z in outputs.values())],
            ["same class as float", *(f"{common.agreement(expected, z):.4f}" for z in outputs.values())],
            ["signal to noise, dB", *(sqnr(expected, z) for z in outputs.values())],
            ["file, kB", *(contenders[name].size / 1e3 for name in outputs)],
        ],
    )


if __name__ == "__main__":
    main()
