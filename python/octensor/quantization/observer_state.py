"""The state of a model's observers alone, and the check that stands for PyTorch's observer hook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from octensor.nn.module import Module
from octensor.quantization.prepare import _check_model

_KEY = "activation_post_process"


def get_observer_state_dict(mod: Module) -> dict[str, Any]:
    """Return the entries of ``mod.state_dict()`` that belong to observers and fake quantizers in output slots."""
    _check_model("get_observer_state_dict", mod)
    return {key: value for key, value in mod.state_dict().items() if _KEY in key}


def load_observer_state_dict(mod: Module, obs_dict: Mapping[str, Any]) -> None:
    """Load what `get_observer_state_dict` returned into a model prepared in the same way.

    Raises
    ------
    ValueError
        If observer keys are missing or unexpected; nothing was then loaded.
    """
    _check_model("load_observer_state_dict", mod)
    own = mod.state_dict()
    missing = sorted(key for key in own if _KEY in key and key not in obs_dict)
    unexpected = sorted(key for key in obs_dict if key not in own or _KEY not in key)
    if missing or unexpected:
        parts = [
            f"{word} keys: {', '.join(keys)}"
            for word, keys in (("missing", missing), ("unexpected", unexpected))
            if keys
        ]
        raise ValueError(f"load_observer_state_dict: {type(mod).__name__}: {'; '.join(parts)}")
    mod.load_state_dict(obs_dict, strict=False)


def register_activation_post_process_hook(module: Module) -> None:
    """Check that a module's output slot is filled; nothing has to be registered.

    In PyTorch a forward hook runs the observer. Here `Module.__call__` runs what is in the slot, after all hooks.

    Raises
    ------
    ValueError
        If the slot is empty.
    """
    _check_model("register_activation_post_process_hook", module)
    if module._modules.get(_KEY) is None:
        raise ValueError(
            f"register_activation_post_process_hook: {type(module).__name__}: expected an observer in the output slot, "
            "found none: prepare the model first"
        )
