"""PyTorch's tables of classes, derived from the states that layers have.

Nothing here decides anything: `convert` changes what layers hold, and needs no table of classes. The tables exist for
code that reads them, or passes an edited one as ``mapping=``. They are made, on each call, of the views in
`nn.quantized`, `nn.qat` and so on: a view that names a state of class C is what C maps to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from octensor import nn
from octensor.nn.module import Module
from octensor.nn.views import View

Classes = dict[Any, Any]


def _views(package: Any) -> list[Any]:
    names = getattr(package, "__all__", dir(package))
    return [v for v in (getattr(package, name, None) for name in names) if isinstance(v, View)]


def _match(sources: list[Any], targets: list[Any], dropped: tuple[str, ...] = ()) -> Classes:
    """Map every view to the one of the same layer that carries the same, apart from what conversion folds."""
    found: Classes = {}
    for source in sources:
        carried = tuple(part for part in source.fused if part not in dropped)
        for target in targets:
            if target.layer is source.layer and tuple(target.fused) == carried:
                found[source] = target
                break
    return found


def get_default_static_quant_module_mappings() -> Classes:
    """Return {float or trained class: class in the static stage}."""
    from octensor.nn import intrinsic, qat
    from octensor.nn.intrinsic import qat as intrinsic_qat
    from octensor.nn.intrinsic import quantized as intrinsic_quantized
    from octensor.quantization.functional import FloatFunctional
    from octensor.quantization.stubs import DeQuantStub, QuantStub

    quantized = _views(nn.quantized)
    static = quantized + _views(intrinsic_quantized)
    table: Classes = {view.layer: view for view in quantized if not view.fused and "static" in view.stages}
    for name, value in vars(nn.quantized).items():  # classes that are the same in both stages
        if isinstance(value, type) and issubclass(value, Module) and not isinstance(value, View) and name[0].isupper():
            table.setdefault(value, value)
    for stub, name in ((QuantStub, "Quantize"), (DeQuantStub, "DeQuantize"), (FloatFunctional, "QFunctional")):
        table[stub] = getattr(nn.quantized, name, stub)
    trained = _views(intrinsic) + _views(qat) + _views(intrinsic_qat)
    table.update(_match(trained, static, dropped=("norm",)))
    return table


def get_default_qat_module_mappings() -> Classes:
    """Return {float class: class in the qat stage}."""
    from octensor.nn import intrinsic, qat
    from octensor.nn.intrinsic import qat as intrinsic_qat

    table: Classes = {view.layer: view for view in _views(qat)}
    table.update(_match(_views(intrinsic), _views(intrinsic_qat)))
    return table


def get_default_dynamic_quant_module_mappings() -> Classes:
    """Return {float class: class in the dynamic or weight-only stage}."""
    from importlib import import_module

    table: Classes = {}
    for package in (nn.quantized, import_module("octensor.nn.quantized.dynamic")):
        for view in _views(package):
            if not view.fused and {"dynamic", "weight-only"} & set(view.stages) and "static" not in view.stages:
                table[view.layer] = view
    return table


def get_default_qconfig_propagation_list() -> set[Any]:
    """Return the classes that take a qconfig: all keys of the three tables, and `nn.Sequential`."""
    keys = set(get_default_static_quant_module_mappings()) | set(get_default_qat_module_mappings())
    return keys | set(get_default_dynamic_quant_module_mappings()) | {nn.Sequential}


def get_default_compare_output_module_list() -> set[Any]:
    """Return the classes whose outputs the numeric suite compares: all that the static and qat tables know."""
    tables = get_default_static_quant_module_mappings(), get_default_qat_module_mappings()
    return {c for table in tables for pair in table.items() for c in pair}


def get_static_quant_module_class(float_module_class: Any, additional_static_quant_mapping: Any = None) -> Any:
    """Return the static class of a float one; ValueError if there is none."""
    table = {**get_default_static_quant_module_mappings(), **(additional_static_quant_mapping or {})}
    return _class_of("get_static_quant_module_class", float_module_class, table)


def get_dynamic_quant_module_class(float_module_class: Any, additional_dynamic_quant_mapping: Any = None) -> Any:
    """Return the dynamic class of a float one; ValueError if there is none."""
    table = {**get_default_dynamic_quant_module_mappings(), **(additional_dynamic_quant_mapping or {})}
    return _class_of("get_dynamic_quant_module_class", float_module_class, table)


def _class_of(function: str, float_class: Any, table: Classes) -> Any:
    if float_class not in table:
        known = ", ".join(sorted(c.__name__ for c in table))
        raise ValueError(f"{function}: expected one of {known}, got {getattr(float_class, '__name__', float_class)!r}")
    return table[float_class]


def get_default_float_to_quantized_operator_mappings() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return {function of `nn.functional`: its quantized form in `ops.quantized`}."""
    from octensor.nn import functional
    from octensor.ops import quantized

    names = ("elu", "hardswish", "instance_norm", "layer_norm", "leaky_relu")
    pairs = ((getattr(functional, name, None), getattr(quantized, name, None)) for name in names)
    return {f: q for f, q in pairs if f is not None and q is not None}


def get_quantized_operator(float_op: Callable[..., Any]) -> Callable[..., Any]:
    """Return the quantized form of a function; ValueError if there is none."""
    table = get_default_float_to_quantized_operator_mappings()
    if float_op not in table:
        known = ", ".join(f.__name__ for f in table)
        got = getattr(float_op, "__name__", float_op)
        raise ValueError(f"get_quantized_operator: float_op: expected one of {known}, got {got!r}")
    return table[float_op]


def no_observer_set() -> set[Any]:
    """Return the quantizable modules, whose parts are observed instead of themselves."""
    from importlib import import_module

    quantizable = import_module("octensor.nn.quantizable")
    return {c for c in (getattr(quantizable, name, None) for name in ("LSTM", "MultiheadAttention")) if c is not None}
