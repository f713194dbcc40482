"""Activations as layers. They hold no state (but for `PReLU`) and take float and quantized tensors alike.

Where the qparams of a quantized result come from:

* the input: ReLU, ReLU6, Hardtanh, Threshold, which only limit values;
* constants: Sigmoid, Hardsigmoid, Tanh, whose range is known;
* the output slot, that is, what was observed: all others. LeakyReLU with an empty slot keeps the input's qparams; a
  Sigmoid or Tanh with qparams in its slot takes those.

A class is an op, the names of its settings, and where the qparams come from. `inplace` is accepted for compatibility
and changes nothing: no layer writes into its input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..ops import activation as basic
from ..ops import curves
from ..ops import softmax as softmax_ops
from .linear import positive
from .module import Module, OutputRule
from .observed import ObservedLayer
from .parameter import Parameter


def _number(layer: str, **values: Any) -> None:
    """Raise ValueError unless all values are numbers."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise ValueError(f"{layer}: {name}: expected a number, got {value!r}")


class Activation(ObservedLayer):
    """Base of activations: `op(x, *settings)`.

    Attributes
    ----------
    op : staticmethod
        The op's public function.
    settings : tuple of str
        Attributes passed on to it.
    """

    op: ClassVar[Callable[..., Any]]
    settings: ClassVar[tuple[str, ...]] = ()

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        """Return the op's result."""
        return self.op(input, *(getattr(self, name) for name in self.settings), **self._given(input))

    def extra_repr(self) -> str:
        """Describe the settings."""
        text = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.settings)
        return (text + self._slot_repr()).removeprefix(", ")


class _SameActivation(Activation):
    """Only limits values: the result has the input's qparams."""

    output_rule: ClassVar[OutputRule] = "same"
    needs_slot: ClassVar[bool] = False


class _FixedActivation(Activation):
    """The range of the result is known."""

    output_rule: ClassVar[OutputRule] = "fixed"
    needs_slot: ClassVar[bool] = False


class ReLU(_SameActivation):
    """max(x, 0)."""

    op = staticmethod(basic.relu)


class ReLU6(_SameActivation):
    """min(max(x, 0), 6)."""

    limit = 6.0  # what a layer that carries it has to see to besides the kernel's ReLU
    op = staticmethod(basic.relu6)


class Hardtanh(_SameActivation):
    """Limits values to [min_val, max_val].

    Parameters
    ----------
    min_val, max_val : float
        min_val < max_val.
    inplace : bool
    """

    op = staticmethod(basic.hardtanh)
    settings = ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        _number("Hardtanh", min_val=min_val, max_val=max_val)
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: expected min_val < max_val, got {min_val} and {max_val}")
        self.min_val = min_val
        self.max_val = max_val


class Threshold(_SameActivation):
    """x where x > threshold, else value.

    Parameters
    ----------
    threshold, value : float
    inplace : bool
    """

    op = staticmethod(basic.threshold)
    settings = ("threshold", "value")

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        _number("Threshold", threshold=threshold, value=value)
        self.threshold = threshold
        self.value = value


class Sigmoid(_FixedActivation):
    """1 / (1 + exp(-x)); quantized: scale 1/256."""

    op = staticmethod(basic.sigmoid)


class Hardsigmoid(_FixedActivation):
    """min(max(x + 3, 0), 6) / 6; quantized: scale 1/256."""

    op = staticmethod(basic.hardsigmoid)


class Tanh(_FixedActivation):
    """tanh(x); quantized: scale 2/256."""

    op = staticmethod(basic.tanh)


class LeakyReLU(Activation):
    """x where x > 0, else negative_slope · x.

    Parameters
    ----------
    negative_slope : float
    inplace : bool
    """

    op = staticmethod(basic.leaky_relu)
    settings = ("negative_slope",)
    needs_slot = False

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        _number("LeakyReLU", negative_slope=negative_slope)
        self.negative_slope = negative_slope


class _AlphaActivation(Activation):
    settings = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        _number(type(self).__name__, alpha=alpha)
        self.alpha = alpha


class ELU(_AlphaActivation):
    """x where x > 0, else alpha · (exp(x) - 1).

    Parameters
    ----------
    alpha : float
    inplace : bool
    """

    op = staticmethod(curves.elu)


class CELU(_AlphaActivation):
    """x where x > 0, else alpha · (exp(x / alpha) - 1).

    Parameters
    ----------
    alpha : float
        Not 0.
    inplace : bool
    """

    op = staticmethod(curves.celu)


class SELU(Activation):
    """scale · ELU(x, alpha), with the constants of self-normalising networks."""

    op = staticmethod(curves.selu)


class Hardswish(Activation):
    """x · min(max(x + 3, 0), 6) / 6."""

    op = staticmethod(curves.hardswish)


class SiLU(Activation):
    """x · sigmoid(x)."""

    op = staticmethod(curves.silu)


class Mish(Activation):
    """x · tanh(softplus(x))."""

    op = staticmethod(curves.mish)


class GELU(Activation):
    """x · Φ(x), with the normal distribution function Φ.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        Whether to use the approximation by tanh.
    """

    op = staticmethod(curves.gelu)
    settings = ("approximate",)

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate: expected 'none' or 'tanh', got {approximate!r}")
        self.approximate = approximate


class Softplus(Activation):
    """log(1 + exp(beta · x)) / beta; x itself where beta · x > threshold.

    Parameters
    ----------
    beta, threshold : float
    """

    op = staticmethod(curves.softplus)
    settings = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        _number("Softplus", beta=beta, threshold=threshold)
        self.beta = beta
        self.threshold = threshold


class _FloatActivation(Module):
    """An activation that has no quantized form."""

    output_rule: ClassVar[OutputRule] = "float"


class LogSigmoid(_FloatActivation):
    """log(sigmoid(x)); float only."""

    def forward(self, input: Any) -> Any:
        """Return the logarithm of the sigmoid."""
        return curves.logsigmoid(input)


class PReLU(_FloatActivation):
    """x where x > 0, else weight · x; float only.

    Parameters
    ----------
    num_parameters : int
        1, or the number of channels (axis 1).
    init : float
        First value of the weight.

    Attributes
    ----------
    weight : Parameter, shape (num_parameters,)
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        positive("PReLU", num_parameters=num_parameters)
        _number("PReLU", init=init)
        self.num_parameters = num_parameters
        self.weight = Parameter(np.full(num_parameters, init, np.float32))

    def forward(self, input: Any) -> Any:
        """Return x where x > 0, else weight · x."""
        return curves.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """Say how many weights there are."""
        return f"num_parameters={self.num_parameters}"


class _AlongAxis(_FloatActivation):
    """An activation of all values along one axis."""

    op: ClassVar[Callable[..., Any]]

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        """Return the op's result."""
        return self.op(input, self.dim)

    def extra_repr(self) -> str:
        """Axis."""
        return f"dim={self.dim}"


class Softmax(_AlongAxis):
    """exp(x) / Σ exp(x) along `dim`; float only."""

    op = staticmethod(softmax_ops.softmax)


class LogSoftmax(_AlongAxis):
    """x - log Σ exp(x) along `dim`; float only."""

    op = staticmethod(softmax_ops.log_softmax)
