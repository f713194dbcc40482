"""`state_dict` and `load_state_dict` of a module.

Keys are PyTorch's: the dotted path of the module, then the name of the parameter or buffer. A module whose output slot
holds `QParams` adds `scale` and `zero_point`. Values share memory with the module; loading copies into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._C import QParams, QTensor
from ..tensor import Tensor

if TYPE_CHECKING:
    from .module import Module


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict(strict=False)` passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class StateMixin:
    """The part of `Module` that saves and loads."""

    __dict__: dict[str, Any]
    activation_post_process: Any

    def state_dict(
        self, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Return {dotted name: Tensor, QTensor or ndarray} of all parameters and persistent buffers.

        Values share memory with the module. With `keep_vars` the parameters themselves come, not detached.
        """
        destination = {} if destination is None else destination
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in self.__dict__["_modules"].items():
            if child is not None:
                child.state_dict(destination, f"{prefix}{name}.", keep_vars)
        return destination

    def _own_state(self) -> dict[str, Any]:
        """Parameters, persistent buffers and the slot's qparams of this module alone."""
        own = dict(self.__dict__["_parameters"])
        transient = self.__dict__["_transient_buffers"]
        own.update((k, v) for k, v in self.__dict__["_buffers"].items() if k not in transient)
        return {name: value for name, value in own.items() if value is not None}

    def _slot_qparams(self) -> QParams | None:
        slot = self.__dict__.get("activation_post_process")
        return slot if isinstance(slot, QParams) else None

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for name, value in self._own_state().items():
            detach = isinstance(value, Tensor) and not keep_vars
            destination[prefix + name] = value.detach() if detach else value
        qparams = self._slot_qparams()
        if qparams is not None:
            destination[prefix + "scale"] = Tensor(np.asarray(qparams.scale, np.float32))
            destination[prefix + "zero_point"] = Tensor(np.asarray(qparams.zero_point, np.int64))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy values into this module and those below it.

        Parameters
        ----------
        state_dict : mapping
            As `state_dict` returns it; NumPy arrays are taken too.
        strict : bool
            Whether a missing or an unexpected key is an error.

        Raises
        ------
        ValueError
            Names every missing key, unexpected key and value that does not fit. Nothing was then loaded.
        """
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        plan: list[tuple[StateMixin, dict[str, Any]]] = []
        known: set[str] = set()
        _plan(self, state_dict, "", plan, known, missing, errors)
        unexpected.extend(key for key in state_dict if key not in known)
        if strict and unexpected:
            errors.insert(0, f"unexpected keys: {', '.join(unexpected)}")
        if strict and missing:
            errors.insert(0, f"missing keys: {', '.join(missing)}")
        if errors:
            raise ValueError(f"load_state_dict: {type(self).__name__}: " + "; ".join(errors))
        for module, values in plan:
            module._load_own_state(values)
        return IncompatibleKeys(missing, unexpected)

    def _check_own_state(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Return {name: complaint} for values that `_load_own_state` could not take."""
        own = self._own_state()
        complaints = {}
        for name, value in values.items():
            here = own.get(name)
            if here is None:
                continue
            if isinstance(here, QTensor) != isinstance(value, QTensor):
                want = "a QTensor" if isinstance(here, QTensor) else "a float tensor"
                complaints[name] = (
                    f"expected {want}, got {type(value).__name__}: bring the model to the stage the state was saved in"
                    " first (prepare and convert it the same way, running any data of the right shape in between)"
                )
            elif tuple(np.shape(here) if not hasattr(here, "shape") else here.shape) != _shape(value):
                complaints[name] = f"expected shape {tuple(here.shape)}, got {_shape(value)}"
        return complaints

    def _expected_state(self) -> set[str]:
        """Names this module needs from a state dict."""
        names = set(self._own_state())
        return names | {"scale", "zero_point"} if self._slot_qparams() is not None else names

    def _load_own_state(self, values: dict[str, Any]) -> None:
        """Take the values of this module's own names; modules with state of varying shape override this."""
        own = self._own_state()
        for name, value in values.items():
            here = own.get(name)
            if isinstance(here, QTensor):
                setattr(self, name, value)
            elif isinstance(here, (Tensor, np.ndarray)):
                np.asarray(here)[...] = np.asarray(value)
        qparams = self._slot_qparams()
        if qparams is not None and ("scale" in values or "zero_point" in values):
            scale = np.asarray(values.get("scale", qparams.scale))
            zero_point = np.asarray(values.get("zero_point", qparams.zero_point))
            if not qparams.is_per_channel:
                scale, zero_point = scale.reshape(()).item(), zero_point.reshape(()).item()
            self.activation_post_process = QParams(scale, zero_point, qparams.dtype, qparams.axis)
        self.__dict__["_cache"] = None


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if hasattr(value, "shape") else np.shape(value)


def _plan(
    module: StateMixin | Module,
    state: Mapping[str, Any],
    prefix: str,
    plan: list[tuple[StateMixin, dict[str, Any]]],
    known: set[str],
    missing: list[str],
    errors: list[str],
) -> None:
    """Collect, module by module, what to load and every complaint, before anything is changed."""
    expected = module._expected_state()
    values = {name: state[prefix + name] for name in expected if prefix + name in state}
    known.update(prefix + name for name in values)
    missing.extend(sorted(prefix + name for name in expected if prefix + name not in state))
    errors.extend(f"{prefix}{name}: {text}" for name, text in module._check_own_state(values).items())
    plan.append((module, values))
    for name, child in module.__dict__["_modules"].items():
        if child is not None:
            _plan(child, state, f"{prefix}{name}.", plan, known, missing, errors)
