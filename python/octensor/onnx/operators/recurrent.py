"""LSTM, GRU and RNN: ONNX's weights as the parameters of octensor's layers.

ONNX keeps gates in the order i, o, f, c (LSTM) and z, r, h (GRU), PyTorch and octensor i, f, c, o and r, z, h; ONNX keeps
both biases in one array; its outputs carry the direction as an axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import nn
from ...ops import shape
from ...tensor import Tensor
from ..registry import operator
from .values import array

_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
_USUAL = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


def make_layer(kind: str, w: Any, r: Any, b: Any, attributes: dict[str, Any]) -> nn.Module:
    """Return the layer for an operator's weights.

    Raises
    ------
    ValueError
        If the operator asks for what the layers do not do: peepholes, clipping, other activations, ….
    """
    weight, recurrent = array(w), array(r)
    directions, _, features = weight.shape
    hidden = recurrent.shape[2]
    direction = attributes.get("direction", "forward")
    if direction not in ("forward", "bidirectional") or directions != (2 if direction == "bidirectional" else 1):
        raise ValueError(f"{kind}: direction: expected forward or bidirectional, got {direction!r} and {directions}")
    usual = _USUAL[kind] * directions
    given = tuple(attributes.get("activations") or usual)
    relu = kind == "RNN" and given == ("Relu",) * directions
    if tuple(a.lower() for a in given) != tuple(a.lower() for a in usual) and not relu:
        raise ValueError(f"{kind}: activations: expected {usual}, got {given}")
    if attributes.get("clip") or attributes.get("input_forget"):
        raise ValueError(f"{kind}: expected no clip and no input_forget")
    if kind == "GRU" and not attributes.get("linear_before_reset"):
        raise ValueError("GRU: linear_before_reset: expected 1, as layers apply the reset gate after the product")
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
            state[f"bias_ih{suffix}"], state[f"bias_hh{suffix}"] = ordered(both[: both.size // 2]), ordered(
                both[both.size // 2 :]
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


def output_of(y: Any, directions: int, layout: int) -> Any:
    """Return a layer's output with the directions as an axis of their own."""
    steps, batch, features = y.shape
    apart = shape.reshape(y, (steps, batch, directions, features // directions))
    return shape.permute(apart, (1, 0, 2, 3) if layout else (0, 2, 1, 3))


def states_of(last: Any, layout: int) -> Any:
    """Return a layer's last states in ONNX's order of axes."""
    if isinstance(last, tuple):
        return tuple(states_of(s, layout) for s in last)
    return shape.transpose(last, 0, 1) if layout else last


def _check_lengths(kind: str, x: Any, lengths: Any, layout: int) -> None:
    if lengths is not None and (array(lengths) != x.shape[1 if layout else 0]).any():
        raise ValueError(f"{kind}: sequence_lens: expected sequences of equal length")


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
    """Return Y, Y_h, Y_c of an LSTM without peepholes."""
    if p is not None:
        raise ValueError("LSTM: P: expected no peepholes")
    _check_lengths("LSTM", x, sequence_lens, layout)
    attributes = {"direction": direction, "activations": activations, "clip": clip, "input_forget": input_forget}
    return run_layer(make_layer("LSTM", w, r, b, attributes), x, initial_h, initial_c, layout, w.shape[0])


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
    """Return Y, Y_h of a GRU whose reset gate comes after the product."""
    _check_lengths("GRU", x, sequence_lens, layout)
    attributes = {"direction": direction, "activations": activations, "clip": clip}
    attributes["linear_before_reset"] = linear_before_reset
    return run_layer(make_layer("GRU", w, r, b, attributes), x, initial_h, None, layout, w.shape[0])


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
    _check_lengths("RNN", x, sequence_lens, layout)
    attributes = {"direction": direction, "activations": activations, "clip": clip}
    return run_layer(make_layer("RNN", w, r, b, attributes), x, initial_h, None, layout, w.shape[0])
