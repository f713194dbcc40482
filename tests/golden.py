"""A trained and converted digits network, frozen, and one hash of what it says about every held-out digit.

    python tests/golden.py            print the hash for every instruction set that this CPU runs
    python tests/golden.py --train    train and quantize it anew (changes data/digits_int8.npz and the hash)

Training in float gives other weights on another CPU; the frozen integers must give the same bytes on all.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

import numpy as np

import octensor as ot
from octensor import _C
from octensor.quantization import calibrate, convert, fuse_modules, get_default_qconfig, prepare

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import digits

FILE = Path(__file__).with_name("data") / "digits_int8.npz"
SHA256 = "0af94b3f336f4122cfd9545866a4cb0f103b866f8e189ffd2dd221ebe4332f00"


def held_out() -> tuple[np.ndarray, np.ndarray]:
    """Images (360, 1, 8, 8) and labels, read from scikit-learn's file without importing it (an emulated machine
    has the file alone).
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the digits come with scikit-learn: pip install scikit-learn")
    rows = np.loadtxt(Path(spec.submodule_search_locations[0], "datasets", "data", "digits.csv.gz"), delimiter=",")
    test = np.random.default_rng(0).permutation(len(rows))[1437:]
    return (rows[test, :64].reshape(-1, 1, 8, 8) / 16).astype(np.float32), rows[test, 64].astype(np.int64)


def quantized(model: ot.nn.Module, data: np.ndarray) -> ot.nn.Module:
    """Fuse, prepare, calibrate on `data`, convert."""
    fused = fuse_modules(model.eval(), digits.DigitsNet.FUSE)
    fused.qconfig = get_default_qconfig("x86")
    prepared = prepare(fused)
    calibrate(prepared, data)
    return convert(prepared)


def load() -> ot.nn.Module:
    """The frozen network: any converted network of this shape, with the frozen state put in."""
    model = quantized(digits.DigitsNet(), np.zeros((1, 1, 8, 8), np.float32))
    state: dict[str, object] = {}
    with np.load(FILE) as file:
        for key in file.files:
            name, _, part = key.partition(":")
            if part == "codes":
                axis = int(file[f"{name}:axis"])
                scale, zero_point = file[f"{name}:scale"], file[f"{name}:zero_point"]
                state[name] = _C.QTensor.from_numpy(file[key], _C.QParams(scale, zero_point, _C.qint8, axis))
            elif not part:
                state[name] = file[key]
    model.load_state_dict(state)
    return model


def save(model: ot.nn.Module) -> None:
    """Write the state of a converted network as plain arrays."""
    arrays = {}
    for name, value in model.state_dict().items():
        if isinstance(value, ot.QTensor):
            q = value.qparams
            parts = {"codes": value.int_repr(), "scale": q.scale, "zero_point": q.zero_point, "axis": q.axis}
            arrays.update({f"{name}:{part}": np.asarray(v) for part, v in parts.items()})
        else:
            arrays[name] = np.asarray(value)
    FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FILE, **arrays)


def output_hash(model: ot.nn.Module, images: np.ndarray, batch: int = 360) -> str:
    """SHA-256 of the float32 logits of all images, run `batch` at a time."""
    digest = hashlib.sha256()
    for i in range(0, len(images), batch):
        logits = np.ascontiguousarray(np.asarray(model(images[i : i + batch])), dtype="<f4")
        digest.update(logits.tobytes())
    return digest.hexdigest()


def main() -> None:
    """Print the hashes; with --train make a new network first."""
    if "--train" in sys.argv[1:]:
        x, y, _, _ = digits.load()
        ot.manual_seed(0)
        save(quantized(digits.train(digits.DigitsNet(), x, y), x[:256]))
    images, labels = held_out()
    model = load()
    for name, supported in _C.isa_list():
        if supported:
            _C.set_isa(name)
            print(f"{name:8} {output_hash(model, images)} accuracy {digits.accuracy(model, images, labels):.4f}")


if __name__ == "__main__":
    main()
