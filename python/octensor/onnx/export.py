"""`octensor.onnx.export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..graph.meta import TensorMeta
from ..graph.record import record
from ..nn.module import Module
from ..program.batch import BoundToBatch, generalize, one_more
from . import rows as rows
from .draft import TYPES, Draft, Value
from .exporter import LEAVES, ExportError, results_of, shapes_of, write

OPSETS = (17, 18, 19, 20, 21)
_IR_VERSIONS = {17: 8, 18: 8, 19: 9, 20: 9, 21: 10}
_MOST_BYTES = 2_000_000_000  # a protobuf holds less than 2 GiB


def export(
    model: Any,
    path: str | Path | None,
    example_inputs: Any,
    *,
    opset: int = 17,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_batch: bool = True,
    batch_axis: int = 0,
    exact: bool = True,
) -> bytes:
    """Write a model as ONNX: quantized parts as QDQ, which ONNX Runtime and OpenVINO run in integers.

    Parameters
    ----------
    model : Module or callable
        In eval mode, of any stage: float, dynamic, weight-only, static.
    path : path or None
        Where to write the model; None for its bytes alone.
    example_inputs : tuple, or one tensor
        The model runs on them, and what ran is written.
    opset : int
        Of 17 … 21.
    input_names, output_names : sequence of str, optional
        Names for inputs and outputs, in their order; `forward`'s parameters and "output" otherwise.
    dynamic_batch : bool
        Whether the size along `batch_axis` of the inputs is left open.
    batch_axis : int
        The axis of the samples.
    exact : bool
        Whether quantized layers and sums are written so that ONNX Runtime's codes are octensor's: layers in units of
        powers of two, sums as Sum, which is slower there than its own kernel for Add. False writes every tensor with
        its own scale throughout, and Add.

    Returns
    -------
    bytes
        The serialised model.

    Raises
    ------
    ExportError
        If the model holds operations that ONNX has no operators for; all are listed. Or if something else than sizes
        follows from the batch: pass ``dynamic_batch=False``.
    ImportError
        If the package onnx is not installed.

    Notes
    -----
    Inputs and outputs that are QTensors are codes in the ONNX model. docs/onnx.md says what becomes what, and where
    another runtime's results may differ.

    Examples
    --------
    >>> import octensor as ot
    >>> net = ot.nn.Sequential(ot.nn.Linear(4, 3), ot.nn.ReLU()).eval()
    >>> data = ot.onnx.export(net, None, ot.randn(2, 4))
    >>> ot.onnx.load(data)(ot.randn(5, 4)).shape
    (5, 3)
    """
    if opset not in OPSETS:
        raise ValueError(f"onnx.export: opset: expected one of {OPSETS}, got {opset!r}")
    if getattr(model, "training", False):
        raise ValueError("onnx.export: model: it is in train mode: call model.eval()")
    inputs = tuple(example_inputs) if isinstance(example_inputs, (tuple, list)) else (example_inputs,)
    draft = Draft(opset, exact)
    proto = _model(model, inputs, draft, input_names, output_names, batch_axis if dynamic_batch else None)
    data: bytes = proto.SerializeToString()
    if path is not None:
        Path(path).write_bytes(data)
    return data


def _model(
    model: Any, inputs: tuple[Any, ...], draft: Draft, input_names: Any, output_names: Any, axis: int | None
) -> Any:
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError:
        raise ImportError("octensor.onnx: expected the package onnx: pip install octensor[onnx]") from None
    title = type(model).__name__
    model = _Around(model) if isinstance(model, LEAVES) else model
    module = record(model, inputs, leaves=LEAVES)
    placeholders = [n for n in module.graph.nodes if n.op == "placeholder"]
    faulty = [str(n.target) for n in placeholders if not isinstance(n.meta.get("tensor"), TensorMeta)]
    if faulty:
        raise ExportError(f"onnx.export: inputs: expected tensors, got something else for {', '.join(faulty)}")
    names = _names("input_names", input_names, [str(n.target) for n in placeholders])
    values = {n: Value(draft.name(name), n.meta["tensor"]) for n, name in zip(placeholders, names, strict=True)}
    batch, differing, larger = None, {}, None
    with_axis = [(name, x) for name, x in zip(names, inputs, strict=True) if axis is not None and len(x.shape) > axis]
    try:
        if axis is not None and with_axis:
            batch = int(with_axis[0][1].shape[axis])
            draft.batch_source = (with_axis[0][0], axis)
            differing = generalize(module, model, inputs, axis, batch, LEAVES)
            larger = shapes_of(model(*(one_more(x, axis, batch) for x in inputs)))
        results = results_of(write(draft, module, differing, values))
    except BoundToBatch as reason:
        raise ExportError(f"onnx.export: the batch cannot be left open: {reason}; pass dynamic_batch=False") from None
    outputs = _outputs(draft, results, output_names, set(names))
    draft.prune(outputs)
    if sum(array.nbytes for array in draft.initializers.values()) > _MOST_BYTES:
        raise ExportError(
            f"onnx.export: expected parameters of at most {_MOST_BYTES} bytes, which is what a file holds"
        )
    shapes: list[tuple[Any, ...]] = []
    for node in placeholders:
        shape = node.meta["tensor"].shape
        shapes.append(
            tuple("batch" if i == axis and batch is not None and n == batch else n for i, n in enumerate(shape))
        )
    for value, other in zip(results, larger or [v.meta.shape for v in results], strict=True):
        shapes.append(tuple(_dimension(n, m, batch) for n, m in zip(value.meta.shape, other, strict=True)))
    metas = [n.meta["tensor"] for n in placeholders] + [v.meta for v in results]
    infos = [
        helper.make_tensor_value_info(name, TYPES[meta.dtype], shape)
        for name, meta, shape in zip([*names, *outputs], metas, shapes, strict=True)
    ]
    nodes = [helper.make_node(n.operator, n.inputs, n.outputs, name=n.outputs[0], **n.attributes) for n in draft.nodes]
    initializers = [numpy_helper.from_array(array, name) for name, array in draft.initializers.items()]
    graph = helper.make_graph(nodes, title, infos[: len(names)], infos[len(names) :], initializers)
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", draft.opset)],
        ir_version=_IR_VERSIONS[draft.opset],
        producer_name="octensor",
    )
    onnx.checker.check_model(made)
    return made


class _Around(Module):
    """A module around a layer that stays whole: one without a path cannot."""

    def __init__(self, inner: Module) -> None:
        super().__init__()
        self.layer = inner
        self.eval()

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run the layer."""
        return self.layer(input) if hx is None else self.layer(input, hx)


def _names(what: str, given: Sequence[str] | None, own: list[str]) -> list[str]:
    if given is None:
        return own
    names = list(given)
    if len(names) != len(own) or len(set(names)) != len(names) or not all(isinstance(n, str) and n for n in names):
        raise ValueError(f"onnx.export: {what}: expected {len(own)} different names, got {names!r}")
    return names


def _outputs(draft: Draft, results: list[Value], given: Sequence[str] | None, taken: set[str]) -> list[str]:
    """Give the outputs their names: of the nodes that make them, or of an Identity behind those that have others."""
    if not results:
        raise ExportError("onnx.export: the model returns no tensor")
    own = ["output"] if len(results) == 1 else [f"output_{i}" for i in range(len(results))]
    names = _names("output_names", given, own)
    clash = taken.intersection(names)
    if clash and given is not None:
        raise ValueError(f"onnx.export: output_names: {sorted(clash)} are names of inputs")
    return [
        draft.add("Identity", [value.name], draft_name)[0] for value, draft_name in zip(results, names, strict=True)
    ]


def _dimension(a: int, b: int, batch: int | None) -> Any:
    """Return a size of an output: a number, or how it follows from the batch."""
    if a == b or batch is None:
        return a
    fixed, per_batch = a - (b - a) * batch, b - a
    text = "batch" if per_batch == 1 else f"{per_batch}*batch"
    return f"{text}{fixed:+d}" if fixed else text
