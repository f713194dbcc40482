"""`prepare`: give modules their qconfig and put observers into output slots; and running data through them.

Which modules are observed follows from `Module.output_rule`: "given" means that somebody has to find the range of
the output (layers with weights, `QuantStub`, `FloatFunctional`, ...). Modules of rule "same" (ReLU, pools, ...) hand on
the qparams of their input. A fused layer counts as one module. The layer's input is what the layer before it observed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from octensor.autograd import no_grad
from octensor.nn.module import Module
from octensor.nn.weighted import WeightedLayer
from octensor.quantization.observer import ObserverBase
from octensor.quantization.qconfig import assert_valid_qconfig
from octensor.tensor import Tensor

_SLOT = "activation_post_process"


def is_activation_post_process(module: Any) -> bool:
    """Whether a module is one that sits in a slot, rather than a layer."""
    return isinstance(module, ObserverBase)


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

    `convert` needs it to see whether a bias fits int32 at the scale of input and weight.
    """

    def __init__(self) -> None:
        self.lo = 0.0
        self.hi = 0.0

    def __call__(self, module: Module, args: tuple[Any, ...]) -> None:
        """Take in the first argument."""
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
    for path, target in _targets(module, tuple(non_leaf_module_list or ()), ""):
        qconfig = getattr(target, "qconfig", None)
        if qconfig is None or (qconfig_propagation_list is not None and type(target) not in qconfig_propagation_list):
            continue
        if target.stage != "float":
            raise ValueError(
                f"{path or type(target).__name__}: expected a float module, got one in the {target.stage} stage: "
                "prepare a float model, once"
            )
        setattr(target, _SLOT, qconfig.activation().train(target.training))
        if is_weighted(target) and target.bias is not None:
            target.register_forward_pre_hook(InputRange())


def _targets(module: Module, non_leaf: tuple[type[Module], ...], path: str) -> Iterator[tuple[str, Module]]:
    """Yield (path, module) for every module that has qparams of its own, without looking inside of these."""
    if module.output_rule == "given" or type(module) in non_leaf:
        yield path, module
        return
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
    _check_model("prepare", model)
    qconfigs = [(path, m, own_qconfig(m)) for path, m in model.named_modules()]
    for path, m, qconfig in qconfigs:
        _check_qconfig(path, m, qconfig)
    if not any(qconfig is not None for _, _, qconfig in qconfigs):
        raise ValueError(
            f"prepare: {type(model).__name__}: expected a qconfig on the model or on some of its modules, found none: "
            "set model.qconfig = octensor.quantization.get_default_qconfig() first"
        )
    training = [path or type(m).__name__ for path, m in model.named_modules() if m.training]
    if training:
        raise ValueError(
            f"prepare: expected a model in eval mode, got train mode in {_some(training)}: call model.eval() first "
            "(quantization-aware training starts with prepare_qat)"
        )
    if not inplace:
        model = copy.deepcopy(model)
    propagate_qconfig_(model)
    swaps = (prepare_custom_config_dict or {}).get("float_to_observed_custom_module_class", {})
    model = swap_children(model, lambda m: swaps[type(m)].from_float(m) if type(m) in swaps else None)
    try:
        add_observer_(model, allow_list, observer_non_leaf_module_list)
    except ValueError as error:
        raise ValueError(f"prepare: {error}") from None
    if not get_observers(model):
        raise ValueError(
            f"prepare: {type(model).__name__}: expected at least one layer to observe, found none with a qconfig: "
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


def get_observers(model: Module) -> dict[str, tuple[Module, ObserverBase]]:
    """Return {path: (module, the observer in its output slot)}."""
    pairs = ((path, module, module._modules.get(_SLOT)) for path, module in model.named_modules())
    return {path: (module, slot) for path, module, slot in pairs if isinstance(slot, ObserverBase)}


def get_observer_dict(mod: Module, target_dict: dict[str, ObserverBase], prefix: str = "") -> None:
    """Fill ``target_dict`` with every observer of a prepared model, as "<path>.activation_post_process"."""
    for path, (_, observer) in get_observers(mod).items():
        target_dict[".".join(part for part in (prefix, path, _SLOT) if part)] = observer


def default_eval_fn(model: Module, calib_data: Iterable[tuple[Any, Any]]) -> None:
    """Run ``model(data)`` for every (data, target) pair, without recording gradients."""
    with no_grad():
        for data, _ in calib_data:
            model(data)


def calibrate(model: Module, data: Any, batch_size: int = 64) -> Module:
    """Run calibration data through a prepared model.

    Parameters
    ----------
    model
        What `prepare` returned.
    data
        A `Tensor` or array, which is cut into batches along its first axis, or an iterable of batches: each a
        tensor, or a tuple or list of the model's arguments.
    batch_size
        Size of the batches cut.

    Returns
    -------
    ``model``.

    Raises
    ------
    ValueError
        If the model holds no observers, or there is no batch.
    """
    _check_model("calibrate", model)
    if not get_observers(model):
        raise ValueError(
            f"calibrate: model: expected a prepared model, got one in the {model.stage} stage: "
            "call prepare(model) first"
        )
    if isinstance(data, (Tensor, np.ndarray)):
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"calibrate: batch_size: expected a positive integer, got {batch_size!r}")
        values = np.asarray(data)
        data = [values[i : i + batch_size] for i in range(0, len(values), batch_size)]
    elif not isinstance(data, Iterable):
        raise TypeError(f"calibrate: data: expected an array or an iterable of batches, got {type(data).__name__}")
    count = 0
    with no_grad():
        for batch in data:
            model(*batch) if isinstance(batch, (tuple, list)) else model(batch)
            count += 1
    if not count:
        raise ValueError("calibrate: data: expected at least one batch, got none")
    return model


def _check_model(function: str, model: Any) -> None:
    if not isinstance(model, Module):
        hint = f": make an instance of {model.__name__} first" if isinstance(model, type) else ""
        raise TypeError(f"{function}: model: expected a Module, got {type(model).__name__}{hint}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
