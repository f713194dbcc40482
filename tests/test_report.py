"""The report: what was quantized, with what, what stayed float, what was fused, and the share of int8."""

from __future__ import annotations

import numpy as np

import octensor as ot
import octensor.quantization as tq
from octensor import nn

RNG = np.random.default_rng(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
        self.conv, self.bn, self.relu = nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()
        self.next, self.act = nn.Conv2d(4, 4, 1), nn.ReLU()
        self.fork, self.left = nn.Conv2d(4, 4, 1), nn.ReLU()
        self.add, self.flat = tq.FloatFunctional(), nn.Flatten()
        self.head, self.soft = nn.Linear(16, 3), nn.LogSoftmax(1)

    def forward(self, x):
        x = self.relu(self.bn(self.conv(self.quant(x))))
        x = self.act(self.next(x))
        y = self.fork(x)
        x = self.add.add(self.left(y), y)
        return self.soft(self.head(self.dequant(self.flat(x))))


def converted():
    model = tq.fuse_modules(Net().eval(), ["conv", "bn", "relu"])
    model.qconfig = tq.get_default_qconfig()
    model.head.qconfig = None
    prepared = tq.calibrate(tq.prepare(model), RNG.standard_normal((8, 2, 4, 4)).astype(np.float32))
    return tq.convert(prepared)


def test_rows_say_what_happened_and_why():
    report = tq.report(converted(), np.zeros((2, 2, 4, 4), np.float32))
    rows = {row.path: row for row in report}
    assert set(rows) == {"quant", "dequant", "conv", "next", "act", "fork", "left", "add", "flat", "head", "soft"}
    first = rows["conv"]
    assert (first.kind, first.stage, first.int8) == ("Conv2d+ReLU", "static", True)
    assert first.weight == "qint8 per-channel"
    assert first.output.startswith("quint8 scale=")
    assert "fused from conv, bn, relu" in first.notes
    assert first.macs == 2 * 4 * 2 * 2 * (2 * 9)
    assert any(
        "not fused with act: fuse_modules(model, ['next', 'act']) was not called" in n for n in rows["next"].notes
    )
    assert rows["act"].output == "as input"
    head = rows["head"]
    assert (head.stage, head.int8, head.weight, head.macs) == ("float", False, "float32", 2 * 3 * 16)
    assert head.notes == ("float: it had no qconfig when the model was prepared",)
    assert rows["soft"].notes == ("computed in float in every stage",)
    integer = sum(rows[name].macs for name in ("conv", "next", "fork"))
    assert report.int8_share == integer / (integer + 96)
    assert report.macs == integer + 96
    text = str(report)
    assert f"{report.int8_share:.1%} of {report.macs:,} multiply-adds run in int8." in text
    assert all(path in text for path in rows)


def test_without_inputs_nothing_is_counted():
    report = tq.report(converted())
    assert (report.macs, report.int8_share) == (None, None)
    assert len(report) == len(report.rows) == 11


def test_dynamic_and_raised_channels():
    model = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
    row = tq.report(tq.quantize_dynamic(model), ot.zeros(3, 4)).rows[0]
    assert (row.stage, row.int8, row.output, row.macs) == ("dynamic", True, "float", 24)
    assert "input quantized to quint8 on each call" in row.notes
    half = tq.report(tq.quantize_dynamic(model, dtype=np.float16), ot.zeros(3, 4))
    assert (half.rows[0].weight, half.int8_share) == ("float16", 0)


def test_transposed_convolutions_count_by_input():
    from octensor.nn.conv import ConvTranspose2d

    report = tq.report(nn.Sequential(ConvTranspose2d(4, 6, 3, stride=2)), ot.zeros(1, 4, 5, 5))
    assert report.macs == 4 * 25 * 6 * 9
