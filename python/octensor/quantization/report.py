"""`report`: what became of every layer of a model, and why.

    >>> import octensor as ot
    >>> from octensor.quantization import quantize_dynamic
    >>> print(report(quantize_dynamic(ot.nn.Sequential(ot.nn.Linear(4, 2), ot.nn.Softmax(1))), ot.randn(3, 4)))
    layer        kind    stage   weight                 output MACs int8 notes
    0            Linear  dynamic qint8 per-tensor       float  24   yes  input quantized to quint8 on each call
    1            Softmax float   -                      float  0    no   computed in float in every stage
    100.0% of 24 multiply-adds run in int8.

Nothing is recorded on the way: a row is read off the layer, its neighbours in a run with example inputs, and the names
that `fuse_modules` left on what it fused. A multiply-add counts as int8 where both factors are codes (stages static and
dynamic). Those inside functions, as attention's products, are not layers and are not counted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from octensor import _C
from octensor.autograd import no_grad
from octensor.nn.linear import Identity
from octensor.nn.module import Module, is_reduced
from octensor.nn.weighted import WeightedLayer
from octensor.quantization.fake_quantize import is_activation_post_process
from octensor.quantization.fuse import FUSERS
from octensor.quantization.prepare import _check_model


class LayerReport(NamedTuple):
    """One row of a `Report`."""

    path: str  #: dotted name in the model
    kind: str  #: class name, with what is fused into it
    stage: str  #: see `Module.stage`
    weight: str  #: dtype and scheme of the weight, or "-"
    output: str  #: dtype, scale and zero point of the output, "as input", or "float"
    macs: int | None  #: multiply-adds with the example inputs; None without
    int8: bool  #: whether these run on codes
    notes: tuple[str, ...]  #: what was fused, why it is float, why it is not fused


class Report:
    """Rows, and the share of multiply-adds in int8.

    Attributes
    ----------
    rows : list of LayerReport
        In the order of the modules.
    """

    def __init__(self, rows: list[LayerReport]) -> None:
        self.rows = rows

    @property
    def macs(self) -> int | None:
        """All multiply-adds of the layers; None if no example inputs were given."""
        counts = [row.macs for row in self.rows]
        return None if None in counts else sum(c for c in counts if c is not None)

    @property
    def int8_share(self) -> float | None:
        """The share of multiply-adds on codes, 0 to 1; None if there are none, or no example inputs were given."""
        if not self.macs:
            return None
        return sum(row.macs or 0 for row in self.rows if row.int8) / self.macs

    def __iter__(self) -> Any:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        head = ("layer", "kind", "stage", "weight", "output", "MACs", "int8", "notes")
        table = [head]
        for row in self.rows:
            macs = "?" if row.macs is None else f"{row.macs:,}"
            flag = "yes" if row.int8 else "no"
            path = row.path or "(model)"
            table.append((path, row.kind, row.stage, row.weight, row.output, macs, flag, "; ".join(row.notes)))
        widths = [max(len(line[i]) for line in table) for i in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
        ]
        if self.int8_share is not None:
            lines.append(f"{self.int8_share:.1%} of {self.macs:,} multiply-adds run in int8.")
        return "\n".join(lines)

    __repr__ = __str__


class _Run:
    """What a run with example inputs showed of one layer."""

    def __init__(self) -> None:
        self.macs = 0
        self.readers: list[str] = []  # the layers that took its output
        self.on_codes = False  # whether its output was quantized


def report(model: Module, *example_inputs: Any) -> Report:
    """Say for every layer of a model what was quantized, what was fused, and why the rest was not.

    Parameters
    ----------
    model
        Any model; most is to say of a converted one.
    *example_inputs
        Arguments of the model. With them it runs once, to count multiply-adds and to see which layers follow which.
    """
    _check_model("report", model)
    layers = dict(_layers(model, ""))
    runs = _run(model, layers, example_inputs) if example_inputs else None
    rows = []
    for path, layer in layers.items():
        stage = layer.stage
        macs = None if runs is None else runs[path].macs
        notes = tuple(_notes(path, layer, layers, runs))
        rows.append(
            LayerReport(
                path, _kind(layer), stage, _weight(layer), _output(layer), macs, _on_codes(stage, path, runs), notes
            )
        )
    return Report(rows)


def _on_codes(stage: str, path: str, runs: dict[str, _Run] | None) -> bool:
    """Whether a layer computes on codes: it is quantized itself, or (a pool, say) passed codes on in the run."""
    return stage in ("static", "dynamic") or (runs is not None and runs[path].on_codes)


def _layers(module: Module, path: str) -> Any:
    """Yield (path, layer): modules without children of their own; what a layer carries belongs to it."""
    children = [(name, m) for name, m in module.named_children() if not is_activation_post_process(m)]
    if isinstance(module, Identity):
        return
    if not children or isinstance(module, WeightedLayer) or module.output_rule == "given" or module.weight_names:
        yield path, module
        return
    for name, child in children:
        yield from _layers(child, f"{path}.{name}" if path else name)


def _run(model: Module, layers: dict[str, Module], inputs: tuple[Any, ...]) -> dict[str, _Run]:
    runs = {path: _Run() for path in layers}
    made: dict[int, tuple[str, Any]] = {}  # id of a tensor -> who made it, and the tensor, which keeps the id taken

    def watch(path: str) -> Any:
        def hook(layer: Module, args: tuple[Any, ...], output: Any) -> None:
            for x in args:
                if id(x) in made:
                    runs[made[id(x)][0]].readers.append(path)
            runs[path].macs += _macs(layer, args, output)
            runs[path].on_codes |= isinstance(output, _C.QTensor)
            made[id(output)] = (path, output)

        return hook

    handles = [layer.register_forward_hook(watch(path)) for path, layer in layers.items()]
    try:
        with no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return runs


def _macs(layer: Module, args: tuple[Any, ...], output: Any) -> int:
    """Return the multiply-adds of one call."""
    if isinstance(layer, WeightedLayer):
        per_output = int(np.prod(layer.weight.shape[1:]))
        if layer.channel_axis == 0:
            return int(np.prod(output.shape)) * per_output
        return int(np.prod(args[0].shape)) * per_output  # a transposed convolution: every input meets every tap
    if layer.weight_names and layer.input_dtype is not None:  # recurrent: every weight meets every step of every sample
        weights = [getattr(layer, name) for name in layer.weight_names]
        x = getattr(args[0], "data", args[0])
        x = args[0] if hasattr(args[0], "shape") else x
        steps = int(np.prod(x.shape[:-1]))
        return steps * sum(int(np.prod(w.shape)) for w in weights)
    return 0


def _kind(layer: Module) -> str:
    carried = (getattr(layer, name, None) for name in ("norm", "activation"))
    return "+".join([type(layer).__name__, *(type(m).__name__ for m in carried if isinstance(m, Module))])


def _weight(layer: Module) -> str:
    names = layer.weight_names
    weight = getattr(layer, names[0], None) if names else None
    if weight is None:
        return "-"
    if isinstance(weight, _C.QTensor):
        qparams = weight.qparams
        return f"{qparams.dtype.name} {'per-channel' if qparams.is_per_channel else 'per-tensor'}"
    return "float16" if is_reduced(weight) else "float32"


def _output(layer: Module) -> str:
    slot = layer.activation_post_process
    if isinstance(slot, _C.QParams):
        return f"{slot.dtype.name} scale={slot.scale:.6g} zero_point={slot.zero_point}"
    if layer.output_rule in ("same", "fixed") and layer.stage == "float":
        return "as input" if layer.output_rule == "same" else "as input, fixed range"
    return "float"


def _notes(path: str, layer: Module, layers: dict[str, Module], runs: dict[str, _Run] | None) -> Any:
    names = getattr(layer, "fused_from", None)
    if names:
        yield f"fused from {', '.join(names)}"
    raised = getattr(layer, "raised_weight_channels", ())
    if raised:
        yield f"weight scale raised in {len(raised)} channels so that the bias fits int32"
    stage = layer.stage
    if stage == "dynamic":
        yield f"input quantized to {layer.input_dtype.name} on each call"
    elif stage == "weight-only":
        yield "computed in float with the weight's real values"
    elif stage == "float":
        yield from _why_float(layer)
    if runs is not None:
        yield from _why_unfused(path, layer, layers, runs)


def _why_float(layer: Module) -> Any:
    if layer.output_rule == "given":
        yield "float: it had no qconfig when the model was prepared"
    elif layer.output_rule == "float":
        if layer.weight_names:
            yield "float: static quantization has no form of it, quantize_dynamic does"
        elif not type(layer).__name__.startswith("DeQuant"):
            yield "computed in float in every stage"


def _why_unfused(path: str, layer: Module, layers: dict[str, Module], runs: dict[str, _Run]) -> Any:
    """Name the follower that a fusion rule exists for, and why it was not applied."""
    if getattr(layer, "activation", None) is not None:
        return
    for reader in dict.fromkeys(runs[path].readers):
        follower = layers[reader]
        if (type(layer), type(follower)) not in FUSERS:
            continue
        others = [r for r in dict.fromkeys(runs[path].readers) if r != reader]
        if others:
            yield f"not fused with {reader}: its output is read by {', '.join(others)} too"
        else:
            yield f"not fused with {reader}: fuse_modules(model, [{path!r}, {reader!r}]) was not called"
