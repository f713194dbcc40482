"""The numeric suite: a float model beside its quantized one, weight by weight and activation by activation.

Three comparisons, under PyTorch's names; what they return are dictionaries of the pairs found:

* `compare_weights`: the weights of two state dicts, ``{"conv.weight": {"float": Tensor, "quantized": QTensor}}``;
* `compare_model_outputs`: both models run on the same input, and each layer's outputs stand side by side. The error of
  a layer includes that of all layers before it: ``{"conv.stats": {"float": [...], "quantized": [...]}}``;
* `compare_model_stub`: the quantized model runs, and beside each chosen layer its float twin runs on the same
  (dequantized) input. The error of a layer is its own.

A list holds one entry for every time the layer ran, whole batches (PyTorch's `ShadowLogger` keeps the first sample).
The two ``compare_model_*`` leave the models as they are; the ``prepare_*`` they are made of change what they are given.
`compare.compare_layers` condenses the second into one number for each layer.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

from octensor import _C, nn
from octensor.autograd import no_grad
from octensor.nn.module import Module
from octensor.quantization.compare import _first, _layers, log_output
from octensor.quantization.prepare import _check_model
from octensor.tensor import Tensor

_LOGGER = "output_logger"


class Logger(Module):
    """Base of loggers: a module whose `stats` fill as it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.stats: dict[str, Any] = {}
        self.dtype = _C.quint8

    def forward(self, *outputs: Any) -> Any:
        """Keep something in `stats`; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")


class ShadowLogger(Logger):
    """Keeps every output of a quantized layer and of its float shadow: ``stats["quantized"]``, ``stats["float"]``."""

    def __init__(self) -> None:
        super().__init__()
        self.stats = {"float": [], "quantized": []}

    def forward(self, x: Any, y: Any) -> None:
        """Keep the quantized layer's output ``x`` and the float layer's output ``y``."""
        self.stats["quantized"].append(_kept(x))
        self.stats["float"].append(_kept(y))


class OutputLogger(Logger):
    """Keeps every output of one layer: ``stats["tensor_val"]``."""

    def __init__(self) -> None:
        super().__init__()
        self.stats = {"tensor_val": []}

    def forward(self, x: Any) -> Any:
        """Keep ``x`` and return it."""
        self.stats["tensor_val"].append(_kept(x))
        return x


class Shadow(Module):
    """A quantized layer with its float twin: both run on the same input, the quantized output is returned.

    Parameters
    ----------
    q_module : Module
        The quantized layer (or `FloatFunctional`).
    float_module : Module
        The float layer it was made of.
    logger_cls : type of Logger
        What keeps the pairs of outputs; its instance is the attribute ``logger``.
    """

    def __init__(self, q_module: Module, float_module: Module, logger_cls: type[Logger] = ShadowLogger) -> None:
        super().__init__()
        self.orig_module = q_module
        self.shadow_module = float_module
        self.logger = logger_cls()
        self.train(q_module.training)

    def forward(self, *x: Any, **kwargs: Any) -> Any:
        """Run both layers."""
        return self._run("__call__", *x, **kwargs)

    def add(self, x: Any, y: Any) -> Any:
        """`FloatFunctional.add` of both."""
        return self._run("add", x, y)

    def add_scalar(self, x: Any, y: float) -> Any:
        """`FloatFunctional.add_scalar` of both."""
        return self._run("add_scalar", x, y)

    def mul(self, x: Any, y: Any) -> Any:
        """`FloatFunctional.mul` of both."""
        return self._run("mul", x, y)

    def mul_scalar(self, x: Any, y: float) -> Any:
        """`FloatFunctional.mul_scalar` of both."""
        return self._run("mul_scalar", x, y)

    def cat(self, x: Any, dim: int = 0) -> Any:
        """`FloatFunctional.cat` of both."""
        return self._run("cat", x, dim)

    def add_relu(self, x: Any, y: Any) -> Any:
        """`FloatFunctional.add_relu` of both."""
        return self._run("add_relu", x, y)

    def _run(self, method: str, *args: Any, **kwargs: Any) -> Any:
        output = getattr(self.orig_module, method)(*args, **kwargs)
        with no_grad():
            shadow = getattr(self.shadow_module, method)(*_as_float(args), **_as_float(kwargs))
        self.logger(output, shadow)
        return output


def _as_float(x: Any) -> Any:
    """Dequantize whatever is quantized in nested tuples, lists and dictionaries."""
    if isinstance(x, (tuple, list)):
        return type(x)(_as_float(item) for item in x)
    if isinstance(x, dict):
        return {name: _as_float(value) for name, value in x.items()}
    return x.dequantize() if isinstance(x, _C.QTensor) else x


def _kept(x: Any) -> Any:
    """Return what a logger keeps of an output: whole tensors; of a recurrent layer's, the sequence."""
    x = _first(x)
    return x.detach() if isinstance(x, Tensor) else x


def compare_weights(float_dict: Any, quantized_dict: Any) -> dict[str, dict[str, Any]]:
    """Pair the weights of a float model with those of its quantized model.

    Parameters
    ----------
    float_dict, quantized_dict
        ``model.state_dict()`` of the two; the float model fused as the quantized one is.

    Returns
    -------
    ``{name: {"float": Tensor, "quantized": QTensor}}`` for every name whose value is quantized in one and float in the
    other.

    >>> import octensor as ot
    >>> from octensor.quantization import QuantWrapper, calibrate, convert, default_qconfig, prepare
    >>> model = QuantWrapper(ot.nn.Linear(4, 2)).eval()
    >>> model.qconfig = default_qconfig
    >>> quantized = convert(calibrate(prepare(model), ot.randn(8, 4)))
    >>> list(compare_weights(model.state_dict(), quantized.state_dict()))
    ['module.weight']
    """
    for name, state in (("float_dict", float_dict), ("quantized_dict", quantized_dict)):
        if not isinstance(state, Mapping):
            remedy = ": pass model.state_dict()" if isinstance(state, Module) else ""
            raise TypeError(f"compare_weights: {name}: expected a state dict, got {type(state).__name__}{remedy}")
    pairs = {}
    for name, weight in float_dict.items():
        other = quantized_dict.get(name)
        if isinstance(other, _C.QTensor) and not isinstance(weight, _C.QTensor):
            pairs[name] = {"float": weight, "quantized": other}
    if not pairs:
        raise ValueError(
            "compare_weights: quantized_dict: expected quantized weights under names of the float model, found none: "
            "pass the state dicts of the model as it was given to prepare (after fuse_modules) and of the converted one"
        )
    return pairs


def prepare_model_with_stubs(
    float_module: Module,
    q_module: Module,
    module_swap_list: Collection[type],
    logger_cls: type[Logger] = ShadowLogger,
) -> None:
    """Replace quantized layers of ``q_module`` by a `Shadow` of them and their float twin, in place.

    Parameters
    ----------
    module_swap_list
        Types of the float layers to shadow; names for states such as ``nn.intrinsic.ConvReLU2d`` are taken too.
    """
    kinds = tuple(module_swap_list)
    twins = dict(float_module.named_children())
    for name, child in list(q_module.named_children()):
        twin = twins.get(name)
        if twin is None:
            continue
        if isinstance(twin, kinds) and child.stage != "float":
            setattr(q_module, name, Shadow(child, twin, logger_cls))
        else:
            prepare_model_with_stubs(twin, child, kinds, logger_cls)


def compare_model_stub(
    float_model: Module,
    q_model: Module,
    module_swap_list: Collection[type],
    *data: Any,
    logger_cls: type[Logger] = ShadowLogger,
) -> dict[str, dict[str, Any]]:
    """Run the quantized model with each chosen layer's float twin beside it.

    Parameters
    ----------
    float_model
        The float model that was given to `prepare`, in eval mode.
    q_model
        What became of it. It is not changed.
    module_swap_list
        Types of the float layers to look at.
    *data
        Arguments of the model.

    Returns
    -------
    ``{"<path>.stats": {"float": [Tensor, ...], "quantized": [QTensor, ...]}}``, with the default logger.

    Raises
    ------
    ValueError
        If no layer of these types is quantized in ``q_model``.
    """
    _check_models("compare_model_stub", float_model, q_model)
    q_model = copy.deepcopy(q_model)
    prepare_model_with_stubs(float_model, q_model, module_swap_list, logger_cls)
    if not get_logger_dict(q_model):
        names = ", ".join(getattr(kind, "__name__", repr(kind)) for kind in module_swap_list)
        raise ValueError(
            f"compare_model_stub: module_swap_list: expected types of layers that are quantized in q_model, got "
            f"[{names}]: list classes of the float model, as nn.Linear or FloatFunctional"
        )
    with no_grad():
        q_model(*data)
    return get_logger_dict(q_model)


def get_logger_dict(mod: Module, prefix: str = "") -> dict[str, dict[str, Any]]:
    """Return ``{"<path>.stats": stats}`` of every logger in a model, by the path of the module that holds it."""
    found = {}
    for path, module in mod.named_modules():
        for child in module.children():
            if isinstance(child, Logger):
                found[".".join(part for part in (prefix, path, "stats") if part)] = child.stats
    return found


def prepare_model_outputs(
    float_module: Module,
    q_module: Module,
    logger_cls: type[Logger] = OutputLogger,
    allow_list: Collection[type] | None = None,
) -> None:
    """Give every layer that both models have a logger of its outputs, in place.

    Parameters
    ----------
    allow_list
        Only layers of these types; by default all (a fused layer is one).
    """
    ours = dict(_layers(float_module))
    for model in (float_module, q_module):
        for path, layer in list(_layers(model, ours)):
            twins = ours.get(path), layer
            if twins[0] is not None and (allow_list is None or any(isinstance(m, tuple(allow_list)) for m in twins)):
                logger = logger_cls().train(layer.training)
                layer.add_module(_LOGGER, logger)
                log_output(layer, logger)


def get_matching_activations(float_module: Module, q_module: Module) -> dict[str, dict[str, Any]]:
    """Pair what the loggers of two models kept: ``{"<path>.stats": {"float": [...], "quantized": [...]}}``."""
    ours, theirs = get_logger_dict(float_module), get_logger_dict(q_module)
    return {
        path: {"float": stats["tensor_val"], "quantized": theirs[path]["tensor_val"]}
        for path, stats in ours.items()
        if path in theirs
    }


def compare_model_outputs(
    float_model: Module,
    q_model: Module,
    *data: Any,
    logger_cls: type[Logger] = OutputLogger,
    allow_list: Collection[type] | None = None,
) -> dict[str, dict[str, Any]]:
    """Run both models on the same input and pair the outputs of their layers.

    Parameters
    ----------
    float_model
        The float model that was given to `prepare`, in eval mode.
    q_model
        What became of it. Neither is changed.
    *data
        Arguments of the models.
    logger_cls
        What keeps the outputs, under ``stats["tensor_val"]``.
    allow_list
        Only layers of these types; by default all.

    Returns
    -------
    ``{"<path>.stats": {"float": [Tensor, ...], "quantized": [QTensor, ...]}}``.
    """
    _check_models("compare_model_outputs", float_model, q_model)
    float_model, q_model = copy.deepcopy(float_model), copy.deepcopy(q_model)
    prepare_model_outputs(float_model, q_model, logger_cls, allow_list)
    with no_grad():
        float_model(*data)
        q_model(*data)
    pairs = get_matching_activations(float_model, q_model)
    if not pairs:
        raise ValueError(
            "compare_model_outputs: q_model: expected layers with the names of those in float_model, found none: pass "
            "the model as it was given to prepare, and what convert made of it"
        )
    return pairs


def _check_models(function: str, float_model: Any, q_model: Any) -> None:
    for name, model in (("float_model", float_model), ("q_model", q_model)):
        _check_model(f"{function}: {name}", model)
    if q_model.stage == "float":
        raise ValueError(
            f"{function}: q_model: expected a quantized model, got one in the float stage: pass the float model first "
            "and then the converted one"
        )


def strip_shadows(model: Module) -> None:
    """Undo `prepare_model_with_stubs`, in place."""
    for name, child in list(model.named_children()):
        if isinstance(child, Shadow):
            setattr(model, name, child.orig_module)
        else:
            strip_shadows(child)


# What `bias_correction` shadows when nothing else is said.
DEFAULT_SHADOWED = (nn.Linear, nn.Conv2d)
