"""RNet: a network of PReLUs that tells faces from other patches, with its published weights.

The patches are scikit-image's: 100 faces of LFW, 100 without a face. A quarter of them calibrates.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import common
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
    data = common.arguments(__doc__).data
    model = RNet()
    model.load_state_dict(ot.load(common.find(*WEIGHTS, data)[0]))
    model.eval()
    x, faces = load_patches(common.find(*PATCHES, data)[0])
    calibration = x[::4]

    expected = common.run(model, x)
    quantized = quantize(model, calibration)
    example = ot.from_numpy(x[:1])
    columns = {
        "float": (expected, common.file_size(model, example)),
        "octensor int8": (common.run(quantized, x), common.file_size(quantized, example)),
    }
    if peer.available():
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
            peer.export("rnet", "RNet", model, x[:1], source)
            theirs = common.run(peer.Session(source), x)
            print(f"float, to ONNX Runtime's: {common.relative_error(theirs, expected):.1e}")
            peer.quantize(source, target, calibration[:, None])
            size = target.stat().st_size
            columns["ONNX Runtime, default"] = common.run(peer.Session(target), x), size
            columns["ONNX Runtime, exact"] = common.run(peer.Session(target, exact=True), x), size
    results = columns.values()
    common.table(
        "RNet on 200 patches",
        columns,
        [
            ["accuracy", *(float(np.mean((y[:, 1] > y[:, 0]) == faces)) for y, _ in results)],
            ["signal to noise, dB: logits", *(sqnr(expected[:, :2], y[:, :2]) for y, _ in results)],
            ["signal to noise, dB: box", *(sqnr(expected[:, 2:], y[:, 2:]) for y, _ in results)],
            ["file, MB", *(size / 1e6 for _, size in results)],
        ],
    )


if __name__ == "__main__":
    main()
