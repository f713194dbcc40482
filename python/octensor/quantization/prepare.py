"""`prepare`: give modules their qconfig and put observers or fake quantizers into their slots.

Which modules are observed follows from `Module.output_rule`: "given" means that somebody has to find the range of
the output (layers with weights, `QuantStub`, `FloatFunctional`, ...). Modules of rule "same" (ReLU, pools, ...) hand on
the qparams of their input. A fused layer counts as one module. The layer's input is what the layer before it observed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np

from octensor.nn.activation import Hardsigmoid, Sigmoid, Tanh
from octensor.nn.module import Module
from octensor.nn.weighted import WeightedLayer
from octensor.quantization.fake_quantize import (
    FakeQuantizeBase,
    default_fixed_qparams_range_0to1_fake_quant,
    default_fixed_qparams_range_neg1to1_fake_quant,
    is_activation_post_process,
)
from octensor.quantization.qconfig import assert_valid_qconfig
from octensor.tensor import Tensor

_SLOT = "activation_post_process"


def is_weighted(module: Module) -> bool:
    """Whether a layer has a weight to quantize."""
    return isinstance(module, WeightedLayer)


def propagate_qconfig_(
    module: Module,
    qconfig_dict: Mapping[Any, Any] | None = None,
    allow_list: Collection[type[Module]] | None = None,
) -> None:
    """Set ``qconfig`` on every module below ``module`` and on itself.

    The strongest wins: the module's own ``qconfig`` attribute (None keeps it and what is below it in float), then the
    entry of ``qconfig_dict`` for its dotted name, then the one for its type, then the parent's.

    Parameters
    ----------
    qconfig_dict
        From dotted names or types to a `QConfig` or None; the name ``""`` is ``module`` itself.
    allow_list
        Set it only on modules of these types; the others pass it on.

    Raises
    ------
    TypeError
        If something else than a `QConfig` or None is found; the message names the module.
    ValueError
        If ``qconfig_dict`` has a name that no module has.
    """
    given = dict(qconfig_dict or {})
    paths = {path for path, _ in module.named_modules(remove_duplicate=False)}
    unknown = [key for key in given if isinstance(key, str) and key not in paths]
    if unknown:
        raise ValueError(
            f"propagate_qconfig_: qconfig_dict: expected names of modules, got {', '.join(map(repr, unknown))}; "
            f"the model has {', '.join(sorted(paths - {''}))}"
        )
    _propagate(module, given, allow_list, None, "")


def _propagate(
    module: Module, given: dict[Any, Any], allow_list: Collection[type[Module]] | None, inherited: Any, path: str
) -> None:
    qconfig = own_qconfig(module, given.get(path, given.get(type(module), inherited)))
    _check_qconfig(path, module, qconfig)
    if allow_list is None or type(module) in allow_list:
        module.qconfig = qconfig
    for name, child in module.named_children():
        if not is_activation_post_process(child):
            _propagate(child, given, allow_list, qconfig, f"{path}.{name}" if path else name)


def own_qconfig(module: Module, default: Any = None) -> Any:
    """Return the module's ``qconfig`` attribute, also where it is an observer somebody put there by mistake."""
    return module._modules.get("qconfig") or module.__dict__.get("qconfig", default)


def _check_qconfig(path: str, module: Module, qconfig: Any) -> None:
    try:
        assert_valid_qconfig(qconfig, module)
    except TypeError as error:
        raise TypeError(f"{path}: {error}" if path else str(error)) from None


class InputRange:
    """A forward pre-hook that keeps the largest extent of a layer's input.

    `convert` needs it to see whether a bias fits int32 at the scale of input and weight. A layer in the qat stage adds
    to it in train mode only: evaluating changes nothing.
    """

    def __init__(self) -> None:
        self.lo = 0.0
        self.hi = 0.0

    def __call__(self, module: Module, args: tuple[Any, ...]) -> None:
        """Take in the first argument."""
        if not module.training and module.stage == "qat" and self.hi > self.lo:
            return
        values = np.asarray(args[0]) if args and isinstance(args[0], (Tensor, np.ndarray)) else np.empty(0)
        if values.size:
            self.lo, self.hi = min(self.lo, float(values.min())), max(self.hi, float(values.max()))

    @staticmethod
    def remove_from(module: Module) -> InputRange | None:
        """Take the hook off a module and return it."""
        found = [(key, hook) for key, hook in module._forward_pre_hooks.items() if isinstance(hook, InputRange)]
        for key, _ in found:
            del module._forward_pre_hooks[key]
        return found[0][1] if found else None


def add_observer_(
    module: Module,
    qconfig_propagation_list: Collection[type[Module]] | None = None,
    non_leaf_module_list: Collection[type[Module]] | None = None,
) -> None:
    """Put an observer into the output slot of every module that needs one and has a qconfig.

    Parameters
    ----------
    qconfig_propagation_list
        Observe only modules of these types.
    non_leaf_module_list
        Types of containers whose output is observed as well, and nothing inside of them.
    """
    _check_model("add_observer_", module)
    for path, target in _targets(module, tuple(non_leaf_module_list or ()), ""):
        qconfig = getattr(target, "qconfig", None)
        if qconfig is None or (qconfig_propagation_list is not None and type(target) not in qconfig_propagation_list):
            continue
        if target.stage != "float":
            raise ValueError(
                f"{path or type(target).__name__}: expected a float module, got one in the {target.stage} stage: "
                "prepare a float model, once"
            )
        observer = qconfig.activation() if target.output_rule != "fixed" else fixed_fake_quant(target)
        if is_activation_post_process(observer):
            setattr(target, _SLOT, observer.train(target.training))  # type: ignore[union-attr]
        if is_weighted(target):
            of_weight = weight_observer(target)
            if isinstance(of_weight, FakeQuantizeBase):
                target.weight_fake_quant = of_weight.train(target.training)
            if target.bias is not None:
                target.register_forward_pre_hook(InputRange())


def weight_observer(layer: Module) -> Module:
    """Make what a layer's qconfig has for its weight, with the channel axis where the layer has its channels."""
    observer: Module = layer.qconfig.weight()
    axis = getattr(layer, "channel_axis", 0)
    for part in (observer, observer._modules.get(_SLOT)):
        if part is not None and getattr(part, "ch_axis", None) == 0:
            part.ch_axis = axis
    return observer


def fixed_fake_quant(module: Module) -> Module | None:
    """Make the fake quantizer for a module whose output range is known; None outside of training, which needs none."""
    if not module.training:
        return None
    factory = FIXED_FAKE_QUANTS.get(type(module))
    return None if factory is None else factory()


FIXED_FAKE_QUANTS: dict[type[Module], Any] = {
    Hardsigmoid: default_fixed_qparams_range_0to1_fake_quant,
    Sigmoid: default_fixed_qparams_range_0to1_fake_quant,
    Tanh: default_fixed_qparams_range_neg1to1_fake_quant,
}


def _targets(module: Module, non_leaf: tuple[type[Module], ...], path: str) -> Iterator[tuple[str, Module]]:
    """Yield (path, module) for every module that has qparams of its own, without looking inside of these."""
    if module.output_rule in ("given", "fixed") or type(module) in non_leaf:
        yield path, module
        return
    if module.output_rule == "float" and module.weight_names:
        return  # computes in float: quantize_dynamic is for these
    for name, child in module.named_children():
        if not is_activation_post_process(child):
            yield from _targets(child, non_leaf, f"{path}.{name}" if path else name)


def prepare(
    model: Module,
    inplace: bool = False,
    allow_list: Collection[type[Module]] | None = None,
    observer_non_leaf_module_list: Collection[type[Module]] | None = None,
    prepare_custom_config_dict: Mapping[str, Any] | None = None,
) -> Module:
    """Make a float model ready for calibration: give each layer that needs one an observer.

    Parameters
    ----------
    model
        A float model in eval mode, fused as far as wanted, with a ``qconfig`` on itself or on some of its modules.
    inplace
        Change ``model`` itself; by default a copy is changed.
    allow_list
        Observe only modules of these types.
    observer_non_leaf_module_list
        Types of containers whose output is observed as one.
    prepare_custom_config_dict
        ``{"float_to_observed_custom_module_class": {Float: Observed}}``: modules of these types are replaced by
        ``Observed.from_float(module)`` first.

    Returns
    -------
    The prepared model. Run representative data through it, then `convert` it.

    Raises
    ------
    ValueError
        If no module has a qconfig, the model is in train mode, or it was prepared or converted before.
    """
    check_qconfigs("prepare", model, "get_default_qconfig()")
    training = [path or type(m).__name__ for path, m in model.named_modules() if m.training]
    if training:
        raise ValueError(
            f"prepare: expected a model in eval mode, got train mode in {_some(training)}: call model.eval() first "
            "(quantization-aware training starts with prepare_qat)"
        )
    if not inplace:
        model = copy.deepcopy(model)
    return _observed("prepare", model, prepare_custom_config_dict, allow_list, observer_non_leaf_module_list)


def check_qconfigs(function: str, model: Module, remedy: str) -> None:
    """Raise unless a module of the model has a qconfig, and all there are, are valid."""
    _check_model(function, model)
    qconfigs = [(path, m, own_qconfig(m)) for path, m in model.named_modules()]
    for path, m, qconfig in qconfigs:
        _check_qconfig(path, m, qconfig)
    if not any(qconfig is not None for _, _, qconfig in qconfigs):
        raise ValueError(
            f"{function}: {type(model).__name__}: expected a qconfig on the model or on some of its modules, found "
            f"none: set model.qconfig = octensor.quantization.{remedy} first"
        )


def _observed(
    function: str,
    model: Module,
    prepare_custom_config_dict: Mapping[str, Any] | None = None,
    allow_list: Collection[type[Module]] | None = None,
    non_leaf: Collection[type[Module]] | None = None,
) -> Module:
    """Propagate qconfigs, swap custom modules, fill slots; in place."""
    propagate_qconfig_(model)
    swaps = (prepare_custom_config_dict or {}).get("float_to_observed_custom_module_class", {})
    model = swap_children(model, lambda m: swaps[type(m)].from_float(m) if type(m) in swaps else None)
    try:
        add_observer_(model, allow_list, non_leaf)
    except ValueError as error:
        raise ValueError(f"{function}: {error}") from None
    if not get_observers(model) and not get_observers(model, "weight_fake_quant"):
        raise ValueError(
            f"{function}: {type(model).__name__}: expected at least one layer to observe, found none with a qconfig: "
            "only layers (nn.Linear, nn.Conv2d, QuantStub, ...) are quantized, not operators inside forward()"
        )
    return model


def swap_children(
    model: Module, swap: Callable[[Module], Module | None], done: dict[int, Module] | None = None
) -> Module:
    """Replace modules, parents first, by what ``swap`` returns for them (None keeps one).

    Their qconfig and hooks go along.
    """
    done = {} if done is None else done
    if id(model) in done:
        return done[id(model)]
    new = swap(model)
    done[id(model)] = model if new is None else new
    if new is not None:
        if "qconfig" in model.__dict__:
            new.qconfig = model.qconfig
        new._forward_pre_hooks.update(model._forward_pre_hooks)
        new._forward_hooks.update(model._forward_hooks)
        return new.train(model.training)
    for name, child in list(model._modules.items()):
        if child is not None:
            swapped = swap_children(child, swap, done)
            if swapped is not child:
                setattr(model, name, swapped)
    return model


def get_observers(model: Module, slot: str = _SLOT) -> dict[str, tuple[Module, Any]]:
    """Return {path: (module, the observer or fake quantizer in its slot of that name)}."""
    return {
        path: (module, module._modules[slot])
        for path, module in model.named_modules()
        if not is_activation_post_process(module) and is_activation_post_process(module._modules.get(slot))
    }


def get_observer_dict(mod: Module, target_dict: dict[str, Any], prefix: str = "") -> None:
    """Fill ``target_dict`` with every observer of a prepared model, as "<path>.activation_post_process"."""
    _check_model("get_observer_dict", mod)
    for path, (_, observer) in get_observers(mod).items():
        target_dict[".".join(part for part in (prefix, path, _SLOT) if part)] = observer


def _check_model(function: str, model: Any) -> None:
    if not isinstance(model, Module):
        hint = f": make an instance of {model.__name__} first" if isinstance(model, type) else ""
        raise TypeError(f"{function}: model: expected a Module, got {type(model).__name__}{hint}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
