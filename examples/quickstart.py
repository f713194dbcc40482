"""Train a small network, quantize it to int8, and see what that costs and gains. Takes a few seconds.

pip install octensor scikit-learn matplotlib rich
python examples/quickstart.py [chart.png]
"""

from __future__ import annotations

import sys
from statistics import median
from time import perf_counter

import digits
import matplotlib
from rich.console import Console
from rich.table import Table

import octensor as ot
from octensor import quantization as tq

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def size(model: ot.nn.Module) -> int:
    """Bytes of all parameters, scales and zero points."""
    total = 0
    for value in model.state_dict().values():
        if isinstance(value, ot.QTensor):
            total += value.numel() * value.dtype.itemsize + value.qparams.scale.size * 8
        else:
            total += value.numpy().nbytes
    return total


def latency(model: ot.nn.Module, x) -> float:
    """Median milliseconds of a run on all of ``x``."""
    times = []
    with ot.no_grad():
        for _ in range(30):
            start = perf_counter()
            model(x)
            times.append(1e3 * (perf_counter() - start))
    return median(times)


def main(chart: str = "quickstart.png") -> None:
    console = Console()
    x, y, x_test, y_test = digits.load()

    # 1. A float model.
    ot.manual_seed(0)
    with console.status("training the float model"):
        model = digits.train(digits.DigitsNet(), x, y)

    # 2. Quantize it: fuse, prepare, calibrate, convert.
    fused = tq.fuse_modules(model, digits.DigitsNet.FUSE)
    fused.qconfig = tq.get_default_qconfig()
    prepared = tq.prepare(fused)
    tq.calibrate(prepared, x[:256])
    quantized = tq.convert(prepared)

    # 3. What did it cost, what did it gain?
    table = Table(
        "model", "accuracy", "bytes", f"ms for {len(x_test)} images", title="float and int8 on held-out digits"
    )
    results = {}
    for name, net in (("float", fused), ("int8", quantized)):
        results[name] = (digits.accuracy(net, x_test, y_test), size(net), latency(net, ot.from_numpy(x_test)))
        accuracy, nbytes, ms = results[name]
        table.add_row(name, f"{accuracy:.2%}", f"{nbytes:,}", f"{ms:.2f}")
    console.print(table)

    # 4. Which layer costs accuracy?
    rows = tq.compare_layers(fused, quantized, ot.from_numpy(x_test))
    table = Table("layer", "kind", "SQNR (dB)", "largest error", title="int8 against float, layer by layer")
    for row in rows:
        table.add_row(row.path, row.kind, f"{row.sqnr:.1f}", f"{row.max_error:.3f}")
    console.print(table)

    draw(rows, results, chart)
    console.print(f"chart written to {chart}")


def draw(rows, results, path: str) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=(3, 2), layout="constrained")
    left.barh([row.path for row in rows], [row.sqnr for row in rows], color="tab:blue")
    left.invert_yaxis()
    left.set(title="signal to quantization noise by layer", xlabel="dB (higher is better)")
    labels = ("accuracy", "size", "latency")
    for offset, (name, color) in enumerate((("float", "tab:gray"), ("int8", "tab:orange"))):
        shares = [100 * value / base for value, base in zip(results[name], results["float"], strict=True)]
        bars = right.bar([i + 0.4 * offset for i in range(3)], shares, width=0.38, label=name, color=color)
        accuracy, nbytes, ms = results[name]
        right.bar_label(bars, [f"{accuracy:.1%}", f"{nbytes / 1024:.1f} KiB", f"{ms:.1f} ms"], fontsize=8)
    right.set_xticks([i + 0.2 for i in range(3)], labels)
    right.set(title="int8 relative to float", ylabel="% of float")
    right.legend()
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main(*sys.argv[1:2])
