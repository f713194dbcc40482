"""Silero's voice activity detection: an ONNX file of convolutions and an LSTM, whose state goes from call to call.

The LSTM is quantized dynamically. Measured on synthetic speech (`speech`): the area under the ROC curve over all
frames, and how far probabilities are from float's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import common
import latency
import numpy as np
import peer
from speech import FRAME, recording

import octensor as ot
from octensor import nn
from octensor.quantization import per_channel_dynamic_qconfig, quantize_dynamic

MODEL = "silero-vad", "silero_vad_16k_sequence.onnx"
CONTEXT, MOST_FRAMES = 64, 512
STATE = (np.zeros((1, 1, 128), np.float32),) * 2


def probabilities(model: Callable[..., tuple], frames: np.ndarray) -> np.ndarray:
    """Return the probability of speech in each frame; blocks of frames, the state handed on."""
    before = np.concatenate([np.zeros((1, CONTEXT), np.float32), frames[:-1, -CONTEXT:]])
    x = np.concatenate([before, frames], 1)
    h, c = STATE
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


def sessions(source: Path) -> dict[str, peer.Session]:
    """Return the file in ONNX Runtime: float, with an int8 LSTM, and as its tool quantizes by default."""
    if not peer.available():
        return {}
    found = {common.PEER_FLOAT: peer.Session(source)}
    with tempfile.TemporaryDirectory() as folder:
        for name, operators in (("int8 LSTM", ["LSTM"]), ("default int8", None)):
            target = Path(folder) / "int8.onnx"
            peer.quantize_dynamic(source, target, operators)
            found[f"ONNX Runtime, {name}"] = peer.Session(target)
    return found


def main() -> None:
    given = common.arguments(__doc__, latency.options)
    latency.hold(given)
    source = common.find(*MODEL, given.data)[0]
    model = ot.onnx.load(source)
    quantized = quantize_dynamic(model, {nn.LSTM: per_channel_dynamic_qconfig})
    own, theirs = {"float": model, "octensor, int8 LSTM": quantized}, sessions(source)
    if given.latency:
        frame = np.random.default_rng(0).standard_normal((1, CONTEXT + FRAME), np.float32)
        contenders = {name: common.Own(m, frame, *STATE) for name, m in own.items()}
        latency.table("Silero voice activity, a frame", contenders | theirs, frame, *STATE)
        return
    frames, truth = recording(seed=0, sentences=60)
    print(f"{len(frames)} frames, {truth.mean():.0%} of them speech")

    results = {name: probabilities(octensors(m), frames) for name, m in own.items()}
    results |= {name: probabilities(session.all, frames) for name, session in theirs.items()}
    expected = common.without_peer_float(results)
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
