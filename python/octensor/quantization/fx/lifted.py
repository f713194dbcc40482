"""Layers that stand for calls of functions while a model is calibrated or trained.

A function has no slot for an observer and no weight that could be exchanged. So `prepare_fx` puts a layer in the place
of each call that will be quantized: `nn.Linear` and its like for functions with weights, which they share; a
`Functional` for sums, products and concatenations; a `FunctionLayer` for norms and activations. From then on there are
only layers, and everything that works for layers works for functions: slots, eval mode of training, conversion.
`convert_fx` then turns the layer of a call into a call again (`lower`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from octensor import nn
from octensor.graph.node import Node
from octensor.nn.module import Module
from octensor.nn.observed import ObservedLayer
from octensor.nn.parameter import Parameter
from octensor.ops import OPS, apply, scalar
from octensor.quantization.functional import FloatFunctional
from octensor.random import get_rng_state, set_rng_state
from octensor.tensor import Tensor


class Functional(FloatFunctional):
    """A `FloatFunctional` for one place: called, it does the one operation it is for.

    Parameters
    ----------
    op : str
        Name of a method of `FloatFunctional`.

    >>> import octensor as ot
    >>> Functional("mul")(ot.tensor([2.0]), ot.tensor([3.0]))
    tensor([6.])
    """

    def __init__(self, op: str) -> None:
        super().__init__()
        self.op = op

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do the operation; hooks and slot are seen to by `FloatFunctional`."""
        return getattr(self, self.op)(*args, **kwargs)

    def add_scalar_relu(self, x: Any, c: float) -> Any:
        """Return ``relu(x + c)``."""
        return self._scalar_relu("add", x, c, scalar.add_scalar)

    def mul_scalar_relu(self, x: Any, c: float) -> Any:
        """Return ``relu(x * c)``."""
        return self._scalar_relu("mul", x, c, scalar.mul_scalar)

    def _scalar_relu(self, op: str, x: Any, c: float, integer: Callable[..., Any]) -> Any:
        def real() -> Any:
            return apply(OPS["relu"], apply(OPS[op], x, float(c)))

        return self._run_scalar(f"{op}_scalar_relu", x, c, real, lambda q, number: integer(q, number, relu=True))

    def extra_repr(self) -> str:
        """Name the operation."""
        return self.op


class FunctionLayer(ObservedLayer):
    """A function with its settings, as a layer whose output is observed.

    Parameters
    ----------
    function : callable
        ``function(input, **settings)``; for a quantized input it takes the result's ``qparams`` too.
    settings : dict
        Everything but the input; tensors among it become parameters and buffers, which are shared.

    >>> import octensor as ot
    >>> FunctionLayer(ot.nn.functional.elu, {"alpha": 0.5})(ot.tensor([0.0, 2.0]))
    tensor([0., 2.])
    """

    def __init__(self, function: Callable[..., Any], settings: dict[str, Any]) -> None:
        super().__init__()
        self.function = function
        self.settings = {k: v for k, v in settings.items() if not isinstance(v, (Tensor, np.ndarray))}
        self.constants = tuple(k for k in settings if k not in self.settings)
        for name in self.constants:
            value = settings[name]
            (self.register_parameter if isinstance(value, Parameter) else self.register_buffer)(name, value)

    def forward(self, input: Any) -> Any:
        """Call the function."""
        constants = {name: getattr(self, name) for name in self.constants}
        return self.function(input, **self.settings, **constants, **self._given(input))

    def extra_repr(self) -> str:
        """Name the function."""
        return self.function.__name__ + self._slot_repr()


def arguments(node: Node, function: Callable[..., Any]) -> dict[str, Any]:
    """Return the arguments of a call by the names of the function's parameters; those left out are missing."""
    bound = inspect.signature(function).bind(*node.args, **node.kwargs)
    named = dict(bound.arguments)
    named.update(named.pop("given", {}))
    return named


def value_of(argument: Any, root: Module) -> Any:
    """Return the value of an argument: of a get_attr node what it reads."""
    if not isinstance(argument, Node):
        return argument
    held: Any = root
    for part in str(argument.target).split("."):
        held = getattr(held, part)
    return held


def is_constant(argument: Any) -> bool:
    """Whether an argument has its value before the model runs."""
    return not isinstance(argument, Node) or argument.op == "get_attr"


def weighted_layer(kind: Any, given: dict[str, Any], activation: Module | None, training: bool) -> Module:
    """Return a convolution or linear layer that shares the weight and bias of a functional call.

    Parameters
    ----------
    kind
        Class of the layer.
    given
        Arguments of the function but its input: weight, bias and geometry.
    activation
        What follows and is fused in.
    """
    settings = dict(given)
    weight, bias = settings.pop("weight"), settings.pop("bias", None)
    groups = settings.get("groups", 1)
    if kind is nn.Linear:
        sizes = weight.shape[1], weight.shape[0]
    elif kind.channel_axis == 0:
        sizes = weight.shape[1] * groups, weight.shape[0]
    else:
        sizes = weight.shape[0], weight.shape[1] * groups
    if kind is not nn.Linear:
        settings["kernel_size"] = tuple(weight.shape[2:])
    state = get_rng_state()  # the layer draws weights, which are replaced at once
    layer: Any = kind(*sizes, bias=bias is not None, **settings)
    set_rng_state(state)
    layer.weight = _parameter(weight)
    if bias is not None:
        layer.bias = _parameter(bias)
    layer.activation = activation
    return layer.train(training)  # type: ignore[no-any-return]


def _parameter(value: Any) -> Parameter:
    return value if isinstance(value, Parameter) else Parameter(value, requires_grad=False)
