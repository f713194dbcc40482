"""What the examples on real networks rest on, without their packages: architectures convert, measures are right."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import octensor as ot
from octensor import nn
from octensor.quantization import calibrate, get_default_qconfig, quantize_dynamic, quantize_fx, sqnr

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def example(monkeypatch):
    """``example("silero_vad")`` imports a script of examples/real; its architectures are `networks`."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.syspath_prepend(str(EXAMPLES / "real"))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:  # other tests have modules of the same names
        if str(EXAMPLES) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.native
@pytest.mark.parametrize(("name", "shape"), [("RNet", (32, 3, 24, 24)), ("DepthwiseCNN", (32, 1, 28, 28))])
def test_an_architecture_converts(example, name, shape):
    ot.manual_seed(0)
    model, x = getattr(example("networks"), name)().eval(), ot.randn(*shape)
    quantized = quantize_fx.convert_fx(
        calibrate(quantize_fx.prepare_fx(model, {"": get_default_qconfig()}), np.asarray(x))
    )
    with ot.no_grad():
        assert sqnr(model(x), quantized(x)) > 20


@pytest.mark.native
def test_the_sentence_encoder_gives_unit_vectors_in_float_and_int8(example):
    ot.manual_seed(0)
    model = example("networks").SentenceEncoder(tokens=50, layers=2, hidden=64, heads=4).eval()
    tokens = ot.from_numpy(np.arange(12).reshape(2, 6))
    with ot.no_grad():
        expected, got = (np.asarray(m(tokens)) for m in (model, quantize_dynamic(model, {nn.Linear})))
    np.testing.assert_allclose((expected**2).sum(1), 1, rtol=1e-6)
    assert (expected * got).sum(1).min() > 0.99


def test_area_under_roc_counts_pairs_and_ties_as_half(example):
    area = example("silero_vad").area
    truth = np.array([False, True, False, True])
    assert area(np.array([0.1, 0.9, 0.2, 0.8]), truth) == 1
    assert area(np.array([0.5, 0.5, 0.5, 0.5]), truth) == 0.5
    assert area(np.array([0.1, 0.2, 0.3, 0.4]), truth) == 0.75


@pytest.mark.native
def test_latency_is_of_a_program_and_of_the_model_where_there_is_none(example, capsys, monkeypatch):
    class Windows(nn.Module):
        def forward(self, x):
            return x.unfold(1, 2, 1)

    common, latency = example("common"), example("latency")
    monkeypatch.setattr(latency, "ROUNDS", 2)
    x, threads = np.ones((1, 4), np.float32), ot.get_num_threads()
    try:
        latency.table("two", {"layer": common.Own(nn.Linear(4, 3).eval(), x), "windows": common.Own(Windows(), x)}, x)
    finally:
        ot.set_num_threads(threads)
    printed = capsys.readouterr()
    assert "|  | layer | windows |" in printed.out
    assert printed.err.count("not a program") == 1


def test_a_missing_file_says_what_to_install(example, tmp_path):
    with pytest.raises(SystemExit, match=r"rnet\.pt is missing: .*facenet-pytorch"):
        example("common").find("facenet-pytorch", "rnet.pt", tmp_path)


@pytest.mark.native
@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_an_imagenet_structure_runs_as_in_onnx_runtime_and_in_int8(example, name):
    pytest.importorskip("onnx")
    session = pytest.importorskip("onnxruntime").InferenceSession
    structures = example("structures")
    file = structures.with_weights(structures.without_softmax(structures.FOLDER / f"light_{name}.onnx"))
    data = file.SerializeToString()
    model, x = ot.onnx.load(data), structures.images(1, seed=1)
    (theirs,) = session(data, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    with ot.no_grad():
        expected = np.asarray(model(ot.from_numpy(x)))
        got = structures.quantize(model, structures.images(2, seed=2))(ot.from_numpy(x))
    assert np.abs(theirs - expected).max() < 1e-5 * np.abs(theirs).max()
    assert sqnr(expected, got) > 20
