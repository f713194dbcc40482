"""LSTM, GRU and RNN, whole.

Weights that are quantized are written as codes and dequantized: the weights' rounding is kept, that of the activations,
which dynamic layers quantize step by step, is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._C import QParams, QTensor
from ...graph.meta import TensorMeta
from ...graph.rows import Unsupported
from ...nn.recurrent import RecurrentLayer
from ..draft import Site, Value
from ..exporter import layer

# octensor's gates in ONNX's order: i, f, g, o -> i, o, f, g;  r, z, n -> z, r, n.
_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


def _ordered(rows: np.ndarray, gates: tuple[int, ...]) -> np.ndarray:
    return np.concatenate([np.split(rows, len(gates))[g] for g in gates])


def _weights(site: Site, weights: list[Any], gates: tuple[int, ...], name: str) -> str:
    """Return the name of weights [directions, gates · hidden, features]."""
    if not all(isinstance(w, QTensor) for w in weights):
        return site.floats(np.stack([_ordered(np.asarray(w, np.float32), gates) for w in weights]), name)
    rows = weights[0].shape[0]
    codes = np.concatenate([_ordered(w.int_repr(), gates) for w in weights])
    scale, zeros = (
        np.concatenate([_ordered(np.broadcast_to(np.asarray(getattr(w.qparams, part)), rows), gates) for w in weights])
        for part in ("scale", "zero_point")
    )
    q = QParams(scale.astype(np.float64), zeros.astype(np.int64), weights[0].qparams.dtype, 0)
    real = site.dequantize(site.constant(codes, f"{name}.codes"), q)
    return site.add("Reshape", real, site.ints((len(weights), rows, -1)))


@layer(RecurrentLayer)
def recurrent(site: Site, module: Any, x: Any, hx: Any = None) -> Any:
    """All layers of a recurrent module."""
    kind = next((name for name in _GATES if type(module).__name__ == name), None)
    if kind is None or not isinstance(x, Value) or x.ndim != 3:
        raise Unsupported("ONNX has LSTM, GRU and RNN on batches (steps, samples, features)")
    gates, directions, hidden = _GATES[kind], 2 if module.bidirectional else 1, module.hidden_size
    output, states_meta = site.meta[0], site.meta[1]
    options: dict[str, Any] = {"hidden_size": hidden}
    if directions == 2:
        options["direction"] = "bidirectional"
    if kind == "GRU":
        options["linear_before_reset"] = 1
    if kind == "RNN" and getattr(module, "nonlinearity", "tanh") == "relu":
        options["activations"] = ["Relu"] * directions
    starts = [] if hx is None else [hx] if isinstance(hx, Value) else list(hx)
    y = site.add("Transpose", site.real(x), perm=(1, 0, 2)) if module.batch_first else site.real(x)
    finals: list[list[str]] = [[], []]
    for i in range(module.num_layers):
        parts = [module.weights_of(f"_l{i}" + ("_reverse" if d else "")) for d in range(directions)]
        inputs = [y, *(_weights(site, [p[at] for p in parts], gates, name) for at, name in ((0, "W"), (2, "R")))]
        bias = ""
        if parts[0][1] is not None:
            both = [np.concatenate([_ordered(np.asarray(p[at], np.float32), gates) for at in (1, 3)]) for p in parts]
            bias = site.floats(np.stack(both), "B")
        inputs.append(bias)
        if starts:
            span = (site.ints([i * directions]), site.ints([(i + 1) * directions]), site.ints([0]))
            inputs += [
                "",
                *(site.real(s) if module.num_layers == 1 else site.add("Slice", site.real(s), *span) for s in starts),
            ]
        made = site.add_many(kind, *inputs, outputs=3 if kind == "LSTM" else 2, **options)
        for store, name in zip(finals, made[1:], strict=False):
            store.append(name)
        apart = site.add("Transpose", made[0], perm=(0, 2, 1, 3))  # (T, D, N, H) -> (T, N, D, H)
        y = site.add("Reshape", apart, site.ints((0, 0, directions * hidden)))
    if module.batch_first:
        y = site.add("Transpose", y, perm=(1, 0, 2))
    ends = [names[0] if len(names) == 1 else site.add("Concat", *names, axis=0) for names in finals if names]
    result = Value(y, output)
    if kind == "LSTM":
        return result, tuple(Value(name, meta) for name, meta in zip(ends, states_meta, strict=True))
    return result, Value(ends[0], TensorMeta(*states_meta))
