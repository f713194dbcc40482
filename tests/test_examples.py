"""Short runs of the examples: they work, and quantization costs what they say it costs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def example(monkeypatch):
    """``example("digits_lstm")`` imports one."""
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def load(name):
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    return load


def points(accuracies, name):
    """How many points of accuracy a quantized model loses."""
    return 100 * (accuracies["float"] - accuracies[name])


@pytest.mark.native
@pytest.mark.rows(167, 173, 222, 237)
def test_an_lstm_keeps_its_accuracy(example):
    accuracies = example("digits_lstm").main(epochs=14)
    assert accuracies["float"] > 0.9
    assert points(accuracies, "dynamic int8") <= 0.5
    assert points(accuracies, "static int8") <= 0.5


@pytest.mark.native
@pytest.mark.rows(174, 222, 237)
def test_a_transformer_keeps_its_accuracy(example):
    accuracies = example("digits_transformer").main(epochs=4)
    assert accuracies["float"] > 0.9
    assert points(accuracies, "dynamic int8") <= 0.5
    assert points(accuracies, "static int8") <= 0.5


@pytest.mark.native
@pytest.mark.rows(165, 202, 218)
def test_qat_reaches_float_accuracy(example):
    accuracies = example("digits_qat").main(epochs=5, qat_epochs=3)
    assert accuracies["float"] > 0.95
    assert points(accuracies, "8-bit weights") <= 0.3
    assert points(accuracies, "4-bit weights") <= 1.5


@pytest.mark.native
def test_dask_workers_calibrate_as_one_process_does(example):
    pytest.importorskip("dask")
    assert example("dask_calibrate").main(epochs=1, shards=8, scheduler="threads")
