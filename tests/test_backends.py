"""Engine names, and the names PyTorch keeps things under that are the same things here."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.backends import quantized as backend

ENGINES = ["none", "fbgemm", "qnnpack", "onednn", "x86", "arm"]


@pytest.fixture(autouse=True)
def same_engine_afterwards():
    before = backend.engine
    yield
    backend.engine = before


@pytest.mark.rows(289)
@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_name_can_be_set_and_read(name):
    ot.backends.quantized.engine = name
    assert ot.backends.quantized.engine == name


@pytest.mark.rows(289)
@pytest.mark.parametrize("name", ["cuda", "FBGEMM", "", None, 1])
def test_other_engine_names_are_refused(name):
    before = backend.engine
    with pytest.raises(ValueError, match=r"engine: expected one of .*fbgemm.*qnnpack"):
        backend.engine = name
    assert backend.engine == before


@pytest.mark.rows(290)
def test_supported_engines_are_those_that_can_be_set():
    engines = backend.supported_engines
    assert sorted(engines) == sorted(ENGINES)
    engines.clear()  # a copy
    assert backend.supported_engines
    with pytest.raises(AttributeError, match="supported_engines"):
        backend.supported_engines = []


def linear():
    rng = np.random.default_rng(0)
    layer = nn.quantized.Linear(20, 7)
    weight = ot.quantize_per_tensor(rng.standard_normal((7, 20)).astype(np.float32), 0.02, 0, ot.qint8)
    layer.load_state_dict({"weight": weight, "bias": rng.standard_normal(7), "scale": 0.07, "zero_point": 100})
    x = ot.quantize_per_tensor(rng.standard_normal((50, 20)).astype(np.float32), 0.03, 110, ot.quint8)
    return layer, x


@pytest.mark.rows(
    291,
    differs="the engine never changes arithmetic: under fbgemm too a bias is int32 at scale s_x s_w, as under qnnpack",
)
def test_no_engine_changes_a_result():
    results = set()
    for name in ENGINES:
        backend.engine = name
        layer, x = linear()
        results.add(layer(x).int_repr().tobytes())
    assert len(results) == 1


@pytest.mark.rows(292)
def test_the_bias_is_rounded_to_int32_at_the_scale_of_the_sum():
    layer, x = linear()
    scale = np.float64(layer.weight.qparams.scale) * np.float64(x.qparams.scale)
    codes = np.rint(np.asarray(layer.bias, np.float64) / scale)
    before = layer(x)
    layer.bias.data = (codes * scale).astype(np.float32)
    layer.bias = layer.bias  # packed anew
    assert layer(x).equal(before)
    acc = (x.int_repr().astype(np.int64) - 110) @ layer.weight.int_repr().astype(np.int64).T + codes.astype(np.int64)
    multiplier = np.float32(scale / np.float64(np.float32(0.07)))
    expected = np.clip(np.rint(acc.astype(np.float32) * multiplier) + 100, 0, 255)
    np.testing.assert_array_equal(before.int_repr(), expected)


@pytest.mark.rows(
    293,
    differs="weights are packed for the instruction set that runs, anew where that changes; the engine has no say",
)
def test_a_layer_packed_under_one_engine_runs_under_another():
    layer, x = linear()
    backend.engine = "fbgemm"
    before = layer(x)
    backend.engine = "qnnpack"
    assert layer(x).equal(before)


@pytest.mark.rows(242, differs="there is no TorchScript: eager and graph workflows cover what it was for")
def test_no_script_workflows():
    assert not hasattr(tq, "quantize_jit")
    assert not hasattr(tq, "quantize_dynamic_jit")


@pytest.mark.parametrize(
    ("alias", "real"),
    [
        ("ao.quantization", "quantization"),
        ("ao.quantization.observer", "quantization.observer"),
        ("ao.nn", "nn"),
        ("ao.nn.quantized", "nn.quantized"),
        ("ao.nn.intrinsic.quantized", "nn.intrinsic.quantized"),
        ("ao.ns._numeric_suite", "quantization._numeric_suite"),
    ],
)
def test_ao_names_are_the_same_modules(alias, real):
    module = importlib.import_module(f"octensor.{real}")
    assert importlib.import_module(f"octensor.{alias}") is module
    assert module.__spec__ is not None
    assert module.__spec__.name == f"octensor.{real}"


def test_ao_has_nothing_else():
    import octensor.ao

    assert octensor.ao.quantization is tq
    with pytest.raises(AttributeError, match="pruning"):
        _ = octensor.ao.pruning
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("octensor.ao.backends")
