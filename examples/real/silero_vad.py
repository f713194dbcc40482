"""Silero's voice activity detection: an ONNX file of convolutions and an LSTM, whose state goes from call to call.

The LSTM is quantized dynamically. Measured on synthetic speech (`speech`): the area under the ROC curve over all
frames, and how far probabilities are from float's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import common
import numpy as np
import peer
from speech import recording

import octensor as ot
from octensor import nn
from octensor.quantization import per_channel_dynamic_qconfig, quantize_dynamic

MODEL = "silero-vad", "silero_vad_16k_sequence.onnx"
CONTEXT, MOST_FRAMES = 64, 512


def probabilities(model: Callable[..., tuple], frames: np.ndarray) -> np.ndarray:
    """Return the probability of speech in each frame; blocks of frames, the state handed on."""
    before = np.concatenate([np.zeros((1, CONTEXT), np.float32), frames[:-1, -CONTEXT:]])
    x = np.concatenate([before, frames], 1)
    h = c = np.zeros((1, 1, 128), np.float32)
    parts = []
    with ot.no_grad():
        for start in range(0, len(x), MOST_FRAMES):
            p, h, c = (np.asarray(value) for value in model(x[start : start + MOST_FRAMES], h, c))
            parts.append(p.reshape(-1))
    return np.concatenate(parts)


def area(score: np.ndarray, truth: np.ndarray) -> float:
    """Return the area under the ROC curve: how often a frame of speech scores above one without."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    yes = int(truth.sum())
    return float((ranks[truth].sum() - yes * (yes + 1) / 2) / (yes * (len(truth) - yes)))


def octensors(model: nn.Module) -> Callable[..., tuple]:
    return lambda *values: model(*map(ot.from_numpy, values))


def main() -> None:
    data = common.arguments(__doc__).data
    source = common.find(*MODEL, data)[0]
    model = ot.onnx.load(source)
    quantized = quantize_dynamic(model, {nn.LSTM: per_channel_dynamic_qconfig})
    frames, truth = recording(seed=0, sentences=60)
    print(f"{len(frames)} frames, {truth.mean():.0%} of them speech")

    results = {"float": probabilities(octensors(model), frames)}
    results["octensor, int8 LSTM"] = probabilities(octensors(quantized), frames)
    if peer.available():
        with tempfile.TemporaryDirectory() as folder:
            theirs = probabilities(peer.Session(source).all, frames)
            print(f"float, to ONNX Runtime's: {common.relative_error(theirs, results['float']):.1e}")
            for name, operators in (("int8 LSTM", ["LSTM"]), ("default int8", None)):
                target = Path(folder) / "int8.onnx"
                peer.quantize_dynamic(source, target, operators)
                results[f"ONNX Runtime, {name}"] = probabilities(peer.Session(target).all, frames)
    expected = results["float"]
    common.table(
        "Silero voice activity",
        results,
        [
            ["area under ROC", *(f"{area(p, truth):.5f}" for p in results.values())],
            [
                "frames that change sides of 0.5",
                *(int(np.sum((p > 0.5) != (expected > 0.5))) for p in results.values()),
            ],
            ["largest change of a probability", *(float(np.abs(p - expected).max()) for p in results.values())],
        ],
    )


if __name__ == "__main__":
    main()
