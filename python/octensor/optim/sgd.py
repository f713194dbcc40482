"""Stochastic gradient descent, with PyTorch's forms of momentum, Nesterov momentum and weight decay.

g ← grad + weight_decay · p
v ← momentum · v + (1 - dampening) · g        (the first v is g)
p ← p - lr · (g + momentum · v if nesterov else v)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .optimizer import Optimizer, check_range


class SGD(Optimizer):
    """Gradient descent.

    Parameters
    ----------
    params : iterable of Parameter, or of dicts
    lr : float
        Step size.
    momentum, dampening, weight_decay : float
    nesterov : bool
        Needs momentum, and no dampening.

    Examples
    --------
    >>> import octensor as ot
    >>> w = ot.nn.Parameter([2.0])
    >>> optimizer = ot.optim.SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.item()
    1.0
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        check_range("SGD", "lr", lr, 0.0)
        check_range("SGD", "momentum", momentum, 0.0)
        check_range("SGD", "weight_decay", weight_decay, 0.0)
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError("SGD: nesterov: expected a momentum above 0 and dampening 0")
        settings = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, {"lr": lr, **settings, "nesterov": nesterov})

    def _update(self, values: np.ndarray, grad: np.ndarray, group: dict[str, Any], state: dict[str, Any]) -> None:
        if group["weight_decay"]:
            grad = grad + group["weight_decay"] * values
        momentum = group["momentum"]
        if momentum:
            velocity = state.get("momentum_buffer")
            if velocity is None:
                velocity = state["momentum_buffer"] = grad.copy()
            else:
                velocity *= momentum
                velocity += (1 - group["dampening"]) * grad
            grad = grad + momentum * velocity if group["nesterov"] else velocity
        values -= group["lr"] * grad
