"""LSTM, GRU and RNN: ONNX's weights as the parameters of octensor's layers.

ONNX keeps gates in the order i, o, f, c (LSTM) and z, r, h (GRU), PyTorch and octensor i, f, c, o and r, z, h; ONNX
keeps both biases in one array; its outputs carry the direction as an axis.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import nn
from ...graph.intercept import keep_whole
from ...ops import shape
from ...tensor import Tensor
from ..registry import operator
from .values import array

_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
_DIRECTIONS = ("forward", "reverse", "bidirectional")
_USUAL = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


def make_layer(kind: str, w: Any, r: Any, b: Any, attributes: dict[str, Any]) -> nn.Module | None:
    """Return the layer for an operator's weights, or None where it asks for what layers do not do.

    That is: other activations, clipping, a GRU whose reset gate comes before the product, backward alone.
    """
    weight, recurrent = array(w), array(r)
    directions, _, features = weight.shape
    hidden = recurrent.shape[2]
    direction = attributes.get("direction", "forward")
    if direction not in _DIRECTIONS or directions != (2 if direction == "bidirectional" else 1):
        raise ValueError(f"{kind}: direction: expected one of {_DIRECTIONS}, got {direction!r} of {directions} weights")
    usual = _USUAL[kind] * directions
    given = tuple(attributes.get("activations") or usual)
    relu = kind == "RNN" and given == ("Relu",) * directions
    other = tuple(a.lower() for a in given) != tuple(a.lower() for a in usual) and not relu
    late = kind == "GRU" and not attributes.get("linear_before_reset")
    if other or late or attributes.get("clip") or attributes.get("input_forget") or direction == "reverse":
        return None
    options: dict[str, Any] = {"bias": b is not None, "bidirectional": directions == 2}
    if relu:
        options["nonlinearity"] = "relu"
    layer: nn.Module = getattr(nn, kind)(features, hidden, **options)
    count = len(_GATES[kind])

    def ordered(rows: np.ndarray) -> Tensor:
        parts = rows.reshape(count, hidden, *rows.shape[1:])[list(_GATES[kind])]
        return Tensor(np.ascontiguousarray(parts.reshape(rows.shape)))

    state = {}
    for d in range(directions):
        suffix = "_l0" + ("_reverse" if d else "")
        state[f"weight_ih{suffix}"], state[f"weight_hh{suffix}"] = ordered(weight[d]), ordered(recurrent[d])
        if b is not None:
            both = array(b)[d]
            state[f"bias_ih{suffix}"], state[f"bias_hh{suffix}"] = (
                ordered(both[: both.size // 2]),
                ordered(both[both.size // 2 :]),
            )
    layer.load_state_dict(state)
    layer.eval()
    return layer


def run_layer(layer: Any, x: Any, h: Any, c: Any, layout: int, directions: int) -> tuple[Any, ...]:
    """Run a layer on ONNX's arguments; return Y, Y_h and, of an LSTM, Y_c."""
    x = shape.transpose(x, 0, 1) if layout else x
    h, c = (None if s is None else shape.transpose(s, 0, 1) if layout else s for s in (h, c))
    lstm = type(layer).__name__ == "LSTM"
    if lstm and (h is None) != (c is None):
        zeros = Tensor(np.zeros(tuple((c if h is None else h).shape), np.float32))
        h, c = (zeros, c) if h is None else (h, zeros)
    y, last = layer(x, (h, c) if lstm and h is not None else h)
    states = states_of(last, layout)
    return (output_of(y, directions, layout), *(states if lstm else (states,)))


@keep_whole
def output_of(y: Any, directions: int, layout: int) -> Any:
    """Return a layer's output with the directions as an axis of their own."""
    steps, batch, features = y.shape
    apart = shape.reshape(y, (steps, batch, directions, features // directions))
    return shape.permute(apart, (1, 0, 2, 3) if layout else (0, 2, 1, 3))


@keep_whole
def states_of(last: Any, layout: int) -> Any:
    """Return a layer's last states in ONNX's order of axes."""
    if isinstance(last, tuple):
        return tuple(states_of(s, layout) for s in last)
    return shape.transpose(last, 0, 1) if layout else last


def _run(
    kind: str,
    x: Any,
    w: Any,
    r: Any,
    b: Any,
    lengths: Any,
    h: Any,
    c: Any,
    p: Any,
    layout: int,
    attributes: dict[str, Any],
) -> tuple[Any, ...]:
    """Run an operator: as a layer, or step by step."""
    steps = x.shape[1 if layout else 0]
    whole = lengths is None or bool((array(lengths) == steps).all())
    layer = make_layer(kind, w, r, b, attributes)
    if layer is not None and p is None and whole:
        return run_layer(layer, x, h, c, layout, w.shape[0])
    if not whole:
        raise ValueError(f"{kind}: sequence_lens: expected sequences of equal length, got {array(lengths)}")
    x, h, c = (None if v is None else np.swapaxes(array(v), 0, 1) if layout else array(v) for v in (x, h, c))
    y, *states = step_by_step(kind, x, array(w), array(r), b, h, c, p, attributes)
    if layout:
        y, states = np.transpose(y, (2, 0, 1, 3)), [np.swapaxes(s, 0, 1) for s in states]
    return tuple(Tensor(np.ascontiguousarray(v)) for v in (y, *states))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
}


def step_by_step(
    kind: str, x: np.ndarray, w: np.ndarray, r: np.ndarray, b: Any, h: Any, c: Any, p: Any, attributes: dict[str, Any]
) -> tuple[np.ndarray, ...]:
    """Compute an operator by ONNX's definition, in float64: Y, Y_h and, of an LSTM, Y_c."""
    directions, hidden = w.shape[0], r.shape[2]
    steps, batch, _ = x.shape
    names = tuple(attributes.get("activations") or _USUAL[kind] * directions)
    unknown = [n for n in names if n.lower() not in _ACTIVATIONS]
    each = len(_USUAL[kind])
    if unknown or len(names) != each * directions:
        raise ValueError(f"{kind}: activations: expected {each * directions} of {sorted(_ACTIVATIONS)}, got {names}")
    limit = attributes.get("clip") or np.inf
    zeros = np.zeros((directions, batch, hidden))
    first_h, first_c = (zeros if s is None else s.astype(np.float64) for s in (h, c))
    y = np.zeros((steps, directions, batch, hidden))
    last_h, last_c = np.zeros_like(zeros), np.zeros_like(zeros)
    for d in range(directions):
        f = [_ACTIVATIONS[n.lower()] for n in names[d * each : (d + 1) * each]]
        both = np.zeros(2 * w.shape[1]) if b is None else array(b)[d].astype(np.float64)
        wb, rb = both[: w.shape[1]], both[w.shape[1] :]
        peep = np.zeros((3, hidden)) if p is None else array(p)[d].astype(np.float64).reshape(3, hidden)
        backward = attributes.get("direction") == "reverse" or d == 1
        state, cell = first_h[d], first_c[d]
        for t in reversed(range(steps)) if backward else range(steps):
            given = x[t].astype(np.float64) @ w[d].T + wb
            if kind == "LSTM":
                i, o, forget, new = np.split(given + state @ r[d].T + rb, 4, axis=1)
                i = f[0](np.clip(i + peep[0] * cell, -limit, limit))
                forget = (
                    1 - i if attributes.get("input_forget") else f[0](np.clip(forget + peep[2] * cell, -limit, limit))
                )
                cell = forget * cell + i * f[1](np.clip(new, -limit, limit))
                state = f[0](np.clip(o + peep[1] * cell, -limit, limit)) * f[2](cell)
            elif kind == "GRU":
                rz, rr, rh = np.split(r[d], 3)
                update, reset, new = np.split(given, 3, axis=1)
                bz, br, bh = np.split(rb, 3)
                update = f[0](np.clip(update + state @ rz.T + bz, -limit, limit))
                reset = f[0](np.clip(reset + state @ rr.T + br, -limit, limit))
                if attributes.get("linear_before_reset"):
                    new = new + reset * (state @ rh.T + bh)
                else:
                    new = new + (reset * state) @ rh.T + bh
                state = (1 - update) * f[1](np.clip(new, -limit, limit)) + update * state
            else:
                state = f[0](np.clip(given + state @ r[d].T + rb, -limit, limit))
            y[t, d] = state
        last_h[d], last_c[d] = state, cell
    return (y, last_h, last_c) if kind == "LSTM" else (y, last_h)


@operator("LSTM", ignored=("hidden_size",))
def lstm(
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    sequence_lens: Any = None,
    initial_h: Any = None,
    initial_c: Any = None,
    p: Any = None,
    *,
    layout: int = 0,
    direction: str = "forward",
    activations: Any = None,
    clip: float = 0.0,
    input_forget: int = 0,
) -> Any:
    """Return Y, Y_h, Y_c of an LSTM."""
    attributes = {"direction": direction, "activations": activations, "clip": clip, "input_forget": input_forget}
    return _run("LSTM", x, w, r, b, sequence_lens, initial_h, initial_c, p, layout, attributes)


@operator("GRU", ignored=("hidden_size",))
def gru(
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    sequence_lens: Any = None,
    initial_h: Any = None,
    *,
    layout: int = 0,
    direction: str = "forward",
    activations: Any = None,
    clip: float = 0.0,
    linear_before_reset: int = 0,
) -> Any:
    """Return Y, Y_h of a GRU."""
    attributes = {"direction": direction, "activations": activations, "clip": clip}
    attributes["linear_before_reset"] = linear_before_reset
    return _run("GRU", x, w, r, b, sequence_lens, initial_h, None, None, layout, attributes)


@operator("RNN", ignored=("hidden_size",))
def rnn(
    x: Any,
    w: Any,
    r: Any,
    b: Any = None,
    sequence_lens: Any = None,
    initial_h: Any = None,
    *,
    layout: int = 0,
    direction: str = "forward",
    activations: Any = None,
    clip: float = 0.0,
) -> Any:
    """Return Y, Y_h of a simple recurrent layer."""
    attributes = {"direction": direction, "activations": activations, "clip": clip}
    return _run("RNN", x, w, r, b, sequence_lens, initial_h, None, None, layout, attributes)
