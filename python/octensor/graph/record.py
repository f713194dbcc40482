"""`record`: the graph of a model as the ops that ran on example inputs, control flow resolved.

The model runs twice: the second time on other values, and where then a constant of the graph or an attribute of an op
is another one, it was computed from the inputs in a way that no op has told of (by NumPy, say). Such a graph would be
wrong for other inputs, so it is refused, with the line. A branch taken otherwise is a warning: resolving it is what was
asked.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .._C import QTensor
from ..autograd import no_grad
from ..nn.module import Module
from ..ops.recording import RECORDING
from ..tensor import Tensor
from .errors import TraceError
from .graph_module import GraphModule
from .immutable import map_aggregate
from .intercept import intercepted
from .node import Node
from .recorder import TENSORS, Recorder
from .watch import watched

_INSTEAD = (
    "Compute it with octensor's ops, keep the function that makes it as one step (fx.wrap), or its module "
    "(leaves=(Class,))"
)


def record(
    model: Module | Callable[..., Any],
    example_inputs: Any,
    *,
    kwargs: Mapping[str, Any] | None = None,
    leaves: Sequence[type[Module]] = (),
    check: bool = True,
) -> GraphModule:
    """Return the graph of the ops that a model runs on example inputs.

    Its nodes are call_function nodes whose targets are ops (`OpSpec`), with the weights as arguments: the same for a
    model converted layer by layer and for one converted as a graph. `node.meta["tensor"]` has shape, dtype and qparams
    of each value, `node.meta["module"]` the path of the module that ran.

    Parameters
    ----------
    model : Module or callable
    example_inputs : tuple, or one tensor
        Positional arguments.
    kwargs : mapping, optional
        Keyword arguments.
    leaves : sequence of module classes
        Modules of these classes stay call_module nodes: they run as they are, whatever they do inside. Functions given
        to `wrap` stay call_function nodes in the same way.
    check : bool
        Whether to run a second time on other values, to find what depends on the inputs unseen.

    Raises
    ------
    TraceError
        If something that follows from the inputs would become a constant; the message says where and what to do.

    Examples
    --------
    >>> import octensor as ot
    >>> model = ot.nn.Sequential(ot.nn.Linear(3, 2), ot.nn.ReLU())
    >>> x = ot.ones(4, 3)
    >>> graph_module = ot.fx.record(model, x)
    >>> [getattr(n.target, "name", n.target) for n in graph_module.graph.nodes]
    ['input', '0.weight', '0.bias', 'linear', 'relu', 'output']
    >>> bool((graph_module(x) == model(x)).all())
    True
    """
    args = tuple(example_inputs) if isinstance(example_inputs, (tuple, list)) else (example_inputs,)
    named = dict(kwargs or {})
    root = model if isinstance(model, Module) else Module()
    if root.stage == "qat" or any(m.slot_stage == "qat" for m in root.modules()):
        raise TraceError("record: model: it is prepared for quantization-aware training: convert it first")
    names = _names(model, args, named)
    recorder = _run(model, root, names, args, named, tuple(leaves))
    if check and not _observes(root):
        _check(recorder, model, root, names, args, named, tuple(leaves))
    module = GraphModule(recorder.values, recorder.graph, type(model).__name__ if root is model else "GraphModule")
    module.training = False
    return module


def _names(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """Return the names of the parameters that the arguments are bound to."""
    function = model.forward if isinstance(model, Module) else model
    if isinstance(model, GraphModule):
        function = model._forward.__get__(model)
    bound = inspect.signature(function).bind(*args, **kwargs)
    names: list[str] = []
    for name, value in bound.arguments.items():
        kind = inspect.signature(function).parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            names += [f"{name}_{i}" for i in range(len(value))]
        else:
            names += list(value) if kind is inspect.Parameter.VAR_KEYWORD else [name]
    return names


def _run(
    model: Any,
    root: Module,
    names: list[str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    leaves: tuple[type[Module], ...],
) -> Recorder:
    recorder = Recorder(root, leaves)
    args, kwargs = _apart(args, kwargs)
    values = [*args, *kwargs.values()]
    for name, value in zip([*names[: len(args)], *kwargs], values, strict=True):
        recorder.input(name, value)
    with watched(recorder), intercepted(recorder.module, recorder.function), no_grad():
        RECORDING.recorder = recorder
        try:
            result = model(*args, **kwargs)
        finally:
            RECORDING.recorder = None
    recorder.output(result)
    return recorder


def _apart(*arguments: Any) -> Any:
    """Return the arguments with copies of tensors that are there twice: a tensor stands for one input."""
    seen: set[int] = set()

    def once(value: Any) -> Any:
        if not isinstance(value, TENSORS):
            return value
        if isinstance(value, QTensor):
            value = value.clone() if id(value) in seen else value
        elif {id(value), id(getattr(value, "_array", None))} & seen:
            value = Tensor(np.array(value)) if isinstance(value, Tensor) else value.copy()
        seen.update(id(held) for held in (value, getattr(value, "_array", value)))
        return value

    return map_aggregate(arguments, once)


# --- the second run -------------------------------------------------------------------------------------------------


def _observes(root: Module) -> bool:
    """Whether running the model changes it: observers would see the other values."""
    return any(root._modules and hasattr(m, "calculate_qparams") for m in root.modules())


def _other(value: Any) -> Any:
    """Return a tensor of the same kind with other values: the same in reverse order, floats with the other sign."""
    if isinstance(value, QTensor):
        codes = np.ascontiguousarray(np.asarray(value).reshape(-1)[::-1]).reshape(value.shape)
        return QTensor.from_numpy(codes, value.qparams)
    if isinstance(value, (Tensor, np.ndarray)):
        array = np.ascontiguousarray(np.asarray(value).reshape(-1)[::-1]).reshape(np.shape(value))
        if array.dtype.kind == "f":
            array = array * array.dtype.type(-0.875) + array.dtype.type(0.0625)
        return Tensor(array) if isinstance(value, Tensor) else array
    return value


def _floats_only(value: Any) -> Any:
    return _other(value) if not isinstance(value, TENSORS) or _is_float(value) else value


def _is_float(value: Any) -> bool:
    return isinstance(value, QTensor) or value.dtype.kind == "f"


def _check(
    first: Recorder, model: Any, root: Module, names: list[str], args: Any, kwargs: Any, leaves: tuple[Any, ...]
) -> None:
    second = None
    for change in (_other, _floats_only):
        try:
            others = map_aggregate(args, change), dict(map_aggregate(kwargs, change))
            with np.errstate(all="ignore"):
                second = _run(model, root, names, *others, leaves)
            break
        except Exception:  # integers, such as lengths, may not fit in another order
            continue
    if second is None:
        return
    for a, b in zip(first.graph.nodes, second.graph.nodes, strict=False):
        if a.op != b.op or _target(a) != _target(b):
            return _warn(a)
        if (
            a.op == "get_attr"
            and a.target in first.constants
            and not _same(first.values[a.target], second.values[b.target])
        ):
            user = next(iter(a.users))
            raise TraceError(
                f"{_where(user)}an array that follows from the inputs, but not through octensor's ops, or from random "
                f"numbers, enters {_name(user)}: in the graph it would be a constant. {_INSTEAD}"
            )
        if not _same_arguments(a, b):
            raise TraceError(
                f"{_where(a)}a number or setting of {_name(a)} follows from the values of the inputs: in the graph it "
                f"would be a constant. {_INSTEAD}; if it must be fixed, pass check=False"
            )
    if len(first.graph.nodes) != len(second.graph.nodes):
        _warn(list(first.graph.nodes)[-1])


def _warn(node: Node) -> None:
    warnings.warn(
        f"record: {_where(node)}the model goes another way on other values: the graph holds for inputs like the "
        "example's",
        stacklevel=4,
    )


def _where(node: Node) -> str:
    line, module = node.meta.get("line"), node.meta.get("module")
    return (f"{line}: " if line else "") + (f"in module {module!r}: " if module else "")


def _target(node: Node) -> Any:
    return node.target if isinstance(node.target, str) else id(node.target)


def _name(node: Node) -> str:
    return str(getattr(node.target, "name", None) or getattr(node.target, "__name__", None) or node.target)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, QTensor) and isinstance(b, QTensor):
        return a.qparams == b.qparams and np.array_equal(np.asarray(a), np.asarray(b))
    if isinstance(a, (Tensor, np.ndarray)) and isinstance(b, (Tensor, np.ndarray)):
        left, right = np.asarray(a), np.asarray(b)
        return np.array_equal(left, right, equal_nan=left.dtype.kind == "f" and right.dtype.kind == "f")
    return type(a) is type(b)


def _same_arguments(a: Node, b: Node) -> bool:
    def text(node: Node) -> str:
        return repr((node.args, node.kwargs))

    return text(a) == text(b)
