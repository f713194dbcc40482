"""RNet: a network of PReLUs that tells faces from other patches, with its published weights.

The patches are scikit-image's: 100 faces of LFW, 100 without a face. A quarter of them calibrates.
"""

from __future__ import annotations

from pathlib import Path

import common
import latency
import numpy as np
import peer
from networks import RNet

import octensor as ot
from octensor.quantization import calibrate, get_default_qconfig, quantize_fx, sqnr

WEIGHTS = "facenet-pytorch", "rnet.pt"
PATCHES = "scikit-image", "lfw_subset.npy"


def load_patches(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return patches [200, 3, 24, 24] as the network was trained on, and whether each is a face."""
    grey = np.load(path)[:, None, :24, :24].astype(np.float32)
    return np.repeat((255 * grey - 127.5) / 128, 3, axis=1).astype(np.float32), np.arange(200) < 100


def quantize(model: RNet, calibration: np.ndarray):
    """Return the int8 model."""
    prepared = quantize_fx.prepare_fx(model, {"": get_default_qconfig()})
    return quantize_fx.convert_fx(calibrate(prepared, calibration))


def main() -> None:
    given = common.arguments(__doc__, latency.options)
    latency.hold(given)
    data = given.data
    model = RNet()
    model.load_state_dict(ot.load(common.find(*WEIGHTS, data)[0]))
    model.eval()
    x, faces = load_patches(common.find(*PATCHES, data)[0])
    calibration = x[::4]

    contenders = {
        "float": common.Own(model, x[:1]),
        "octensor int8": common.Own(quantize(model, calibration), x[:1]),
        **peer.static("rnet", "RNet", model, calibration),
    }
    if given.latency:
        latency.table("RNet", contenders, x[:1])
        return
    expected, outputs = common.outputs(contenders, x)
    common.table(
        "RNet on 200 patches",
        outputs,
        [
            ["accuracy", *(float(np.mean((y[:, 1] > y[:, 0]) == faces)) for y in outputs.values())],
            ["signal to noise, dB: logits", *(sqnr(expected[:, :2], y[:, :2]) for y in outputs.values())],
            ["signal to noise, dB: box", *(sqnr(expected[:, 2:], y[:, 2:]) for y in outputs.values())],
            ["file, MB", *(contenders[name].size / 1e6 for name in outputs)],
        ],
    )


if __name__ == "__main__":
    main()
