"""`octensor quantize model.onnx --data samples.npz --out model.oct`: a float model to int8, with a report."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import octensor as ot
import octensor.quantization as tq
from octensor.quantization import quantize_fx

from ..graph.graph_module import GraphModule
from . import CommandError, compare, console, models, samples

OBSERVERS: dict[str, Any] = {
    "histogram": tq.HistogramObserver,
    "minmax": tq.MinMaxObserver,
    "moving-average": tq.MovingAverageMinMaxObserver,
    "percentile": tq.PercentileObserver,
    "mse": tq.MSEObserver,
    "entropy": tq.EntropyObserver,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument("model", type=Path, help="a float model, .onnx")
    samples.add_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the quantized model goes (.oct)")
    parser.add_argument(
        "--per-channel", action=argparse.BooleanOptionalAction, default=True,
        help="a scale for each output channel of a weight (the default), or one for all",
    )  # fmt: skip
    parser.add_argument(
        "--dynamic", action="store_true",
        help="activations over their own range on each call: linear and recurrent layers; embeddings in 8 bits",
    )  # fmt: skip
    parser.add_argument(
        "--observer", choices=sorted(OBSERVERS), default=None,
        help="how ranges of activations are chosen from the samples (default: histogram)",
    )  # fmt: skip
    parser.add_argument("--report", type=Path, default=None, metavar="FILE", help="write the report there as well")


def main(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.out.suffix != ".oct":
        raise CommandError(f"--out {options.out}: expected a name that ends in .oct")
    if options.model.suffix == ".oct":
        raise CommandError(f"{options.model}: expected a float .onnx model: .oct files are recorded already")
    if options.dynamic and options.observer:
        raise CommandError("--observer: dynamic quantization observes nothing: leave it out, or --dynamic")
    model = models.read(options.model)
    data = samples.Samples(options.data, model, options.batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = _dynamic(model, options.per_channel) if options.dynamic else _static(model, data, options)
    ot.save(quantized, options.out, data.example)
    loaded = models.read(options.out)
    reference, other = models.Runner(model, data.example), models.Runner(loaded, data.example)
    found = compare.measure(reference, other, console.progress("compare", data))
    sizes = [path.stat().st_size for path in (options.model, options.out)]
    text = "\n".join(
        [
            str(tq.report(quantized, *data.example)),
            "",
            f"against the float model, on the {data.count} samples:",
            str(found),
            "",
            f"{options.model} {console.size(sizes[0])} -> {options.out} {console.size(sizes[1])}"
            f" ({sizes[0] / max(sizes[1], 1):.1f} times smaller)",
            *([f"runs node by node: {other.note}"] if other.note else []),
        ]
    )
    print(text)
    if options.report is not None:
        options.report.write_text(text + "\n", encoding="utf-8")
    return 0


def _static(model: GraphModule, data: samples.Samples, options: argparse.Namespace) -> GraphModule:
    weight = tq.default_per_channel_weight_observer if options.per_channel else tq.default_weight_observer
    qconfig = tq.QConfig(OBSERVERS[options.observer or "histogram"].with_args(), weight)
    prepared = quantize_fx.prepare_fx(model, {"": qconfig})
    for batch in console.progress("calibrate", data):
        prepared(*batch)
    return quantize_fx.convert_fx(prepared)


def _dynamic(model: GraphModule, per_channel: bool) -> GraphModule:
    qconfig = tq.per_channel_dynamic_qconfig if per_channel else tq.default_dynamic_qconfig
    kinds = {type(layer) for layer in model.modules()} & {ot.nn.Linear, ot.nn.LSTM, ot.nn.GRU, ot.nn.RNN}
    spec = dict.fromkeys(kinds, qconfig)
    if spec and any(type(layer) is ot.nn.Embedding for layer in model.modules()):
        spec[ot.nn.Embedding] = tq.float_qparams_weight_only_qconfig  # tables of rows, which are read as floats
    quantized = tq.quantize_dynamic(model, spec or None)
    if not isinstance(quantized, GraphModule):
        raise CommandError("--dynamic: expected a graph")
    return quantized
