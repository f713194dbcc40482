"""`Optimizer`: what optimisers share: groups of parameters with their settings, and the state of each parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..autograd import enable_grad
from ..nn.parameter import Parameter
from ..tensor import Tensor


def check_range(optimizer: str, name: str, value: Any, low: float, high: float = float("inf")) -> None:
    """Raise ValueError unless low <= value < high."""
    if not low <= value < high:
        raise ValueError(f"{optimizer}: {name}: expected a number in [{low}, {high}), got {value!r}")


class Optimizer:
    """Base of optimisers.

    Parameters
    ----------
    params : iterable of Parameter, or of dicts
        A dict is a group: its "params", and settings that differ from the defaults.
    defaults : dict
        Settings of all groups.

    Raises
    ------
    ValueError
        If there are no parameters, or one comes twice.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(f"{type(self).__name__}: params: expected an iterable of parameters, got one Tensor")
        self.defaults = defaults
        self.state: dict[int, dict[str, Any]] = {}
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise ValueError(f"{type(self).__name__}: params: expected at least one parameter, got none")
        if not isinstance(groups[0], Mapping):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(dict(group))

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add parameters with settings of their own."""
        members = group["params"]
        group["params"] = [members] if isinstance(members, Tensor) else list(members)
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in group["params"]:
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"{type(self).__name__}: params: expected Parameters, got {type(p).__name__}: optimisers work on "
                    "float models"
                )
            if id(p) in known:
                raise ValueError(f"{type(self).__name__}: params: a parameter comes twice")
            known.add(id(p))
        self.param_groups.append(self.defaults | group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget (or zero) the gradients of all parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none:
                    p.grad = None
                elif p.grad is not None:
                    p.grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient; `closure`, if given, computes the loss first."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    values = p.numpy()
                    state = self.state.setdefault(id(p), {})
                    self._update(values, p.grad.numpy().astype(values.dtype, copy=False), group, state)
        return loss

    def _update(self, values: np.ndarray, grad: np.ndarray, group: dict[str, Any], state: dict[str, Any]) -> None:
        """Write new values of one parameter; `grad` must not be written."""
        raise NotImplementedError

    def _order(self) -> list[Parameter]:
        return [p for group in self.param_groups for p in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """Return settings and state; parameters are named by their number."""
        numbers = {id(p): i for i, p in enumerate(self._order())}
        groups = [group | {"params": [numbers[id(p)] for p in group["params"]]} for group in self.param_groups]
        state = {numbers[key]: dict(value) for key, value in self.state.items()}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, for the same parameters in the same order."""
        sizes = [len(group["params"]) for group in self.param_groups]
        theirs = [len(group["params"]) for group in state_dict["param_groups"]]
        if sizes != theirs:
            raise ValueError(
                f"load_state_dict: {type(self).__name__}: expected groups of {sizes} parameters, got {theirs}"
            )
        for group, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({name: value for name, value in saved.items() if name != "params"})
        order = self._order()
        self.state = {
            id(order[i]): {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in value.items()}
            for i, value in state_dict["state"].items()
        }
