"""Adam (Kingma and Ba), as PyTorch computes it.

In step t:

g ← grad + weight_decay · p
m ← β1 · m + (1 - β1) · g
v ← β2 · v + (1 - β2) · g²
p ← p - lr / (1 - β1ᵗ) · m / (sqrt(v) / sqrt(1 - β2ᵗ) + eps)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .optimizer import Optimizer, check_range


class Adam(Optimizer):
    """Adam.

    Parameters
    ----------
    params : iterable of Parameter, or of dicts
    lr : float
        Step size.
    betas : pair of float
        β1, β2 in [0, 1).
    eps : float
    weight_decay : float
        Added to the gradient (not decoupled).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        check_range("Adam", "lr", lr, 0.0)
        check_range("Adam", "eps", eps, 0.0)
        check_range("Adam", "betas[0]", betas[0], 0.0, 1.0)
        check_range("Adam", "betas[1]", betas[1], 0.0, 1.0)
        check_range("Adam", "weight_decay", weight_decay, 0.0)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _update(self, values: np.ndarray, grad: np.ndarray, group: dict[str, Any], state: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(values), exp_avg_sq=np.zeros_like(values))
        if group["weight_decay"]:
            grad = grad + group["weight_decay"] * values
        state["step"] += 1
        first, second = state["exp_avg"], state["exp_avg_sq"]
        first *= beta1
        first += (1 - beta1) * grad
        second *= beta2
        second += (1 - beta2) * grad * grad
        spread = np.sqrt(second) / float(np.sqrt(1 - beta2 ** state["step"])) + group["eps"]
        values -= (group["lr"] / (1 - beta1 ** state["step"])) * first / spread
