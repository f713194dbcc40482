"""The architectures of examples/networks: sizes, names, and what quantization costs them with random weights."""

from __future__ import annotations

import numpy as np
import pytest

import octensor as ot
from octensor.bench.networks import architecture

resnet, mobilenet, efficientnet = (architecture(name) for name in ("resnet", "mobilenet_v2", "efficientnet_lite"))
bert, tagger, weights = (architecture(name) for name in ("bert", "lstm_tagger", "weights"))


def sqnr(output, reference):
    noise = np.asarray(output) - np.asarray(reference)
    return 10 * np.log10(np.square(np.asarray(reference)).sum() / np.square(noise).sum())


def images(size=128):
    """Neighbours alike, as in photographs."""
    rng = np.random.default_rng(0)
    coarse = rng.standard_normal((4, 3, size // 8, size // 8), np.float32)
    return coarse.repeat(8, 2).repeat(8, 3) + 0.3 * rng.standard_normal((4, 3, size, size), np.float32)


@pytest.mark.native
@pytest.mark.parametrize(
    ("make", "count", "names"),
    [
        (resnet.resnet18, 11_689_512, ("layer1.0.conv1.weight", "layer4.0.downsample.1.running_mean", "fc.bias")),
        (resnet.resnet50, 25_557_032, ("layer1.0.conv3.weight", "layer3.5.bn3.num_batches_tracked", "fc.weight")),
        (mobilenet.mobilenet_v2, 3_504_872, ("features.1.conv.0.0.weight", "features.18.1.bias", "classifier.1.bias")),
        (efficientnet.efficientnet_lite0, 4_652_008, ("blocks.1.0.conv_pwl.weight", "bn2.weight", "classifier.bias")),
    ],
)
def test_sizes_and_names_are_those_that_are_known(make, count, names):
    """Parameters as torchvision and timm count them."""
    model = make()
    assert sum(p.numel() for p in model.parameters()) == count
    state = model.state_dict()
    assert set(names) <= set(state)
    assert not any("skip_add" in name or "quant" in name for name in state)


def test_bert_has_the_names_of_transformers():
    model = bert.BertEncoder(1, 16, 2)
    parts = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
    parts += ("attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm")
    assert set(model.state_dict()) == {f"layer.0.{part}.{kind}" for part in parts for kind in ("weight", "bias")}
    assert sum(p.numel() for p in bert.bert_base(1).parameters()) == 7_087_872


SMALL = {
    "basic": lambda: resnet.ResNet(resnet.BasicBlock, (2, 1, 1, 1), 10, width=16),
    "bottleneck": lambda: resnet.ResNet(resnet.Bottleneck, (1, 2, 1, 1), 10, width=16),
    "mobilenet": lambda: mobilenet.mobilenet_v2(num_classes=10, width_mult=0.35),
    "efficientnet": lambda: efficientnet.efficientnet_lite0(num_classes=10),
}


@pytest.mark.native
@pytest.mark.parametrize("name", SMALL)
def test_converted_image_networks_are_near_float(name):
    x = images()
    model = weights.initialise(SMALL[name](), x)
    converted = weights.quantize_static(model, [x])
    assert converted.stage == "static"
    with ot.no_grad():
        real, quantized = np.asarray(model(x)), np.asarray(converted(x))
    assert real.shape == quantized.shape == (4, 10)
    assert real.std(0).min() > 0  # activations live
    assert sqnr(quantized, real) > 10


def test_the_same_seed_gives_the_same_weights():
    x = images(32)
    first, second = (weights.initialise(SMALL["basic"](), x).state_dict() for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_state_dict_of_arrays_loads_by_name():
    x = images(32)
    model = weights.initialise(SMALL["basic"](), x)
    other = SMALL["basic"]().eval()
    other.load_state_dict({name: np.asarray(value) for name, value in model.state_dict().items()})
    with ot.no_grad():
        assert np.array_equal(model(x), other(x))


@pytest.mark.parametrize(
    ("model", "shape"),
    [(bert.BertEncoder(2, 32, 4), (2, 9, 32)), (bert.BertEncoder(1, 24, 3, 40), (1, 5, 24))],
    ids=["two layers", "other sizes"],
)
def test_dynamic_encoders_are_near_float(model, shape):
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    weights.initialise(model, x)
    converted = weights.quantize_dynamic(model)
    assert converted.stage == "dynamic"
    with ot.no_grad():
        assert sqnr(converted(ot.from_numpy(x)), model(ot.from_numpy(x))) > 25


def test_a_dynamic_tagger_is_near_float():
    words = np.random.default_rng(0).integers(0, 100, (7, 3))
    model = weights.initialise(tagger.LSTMTagger(100, 24, 32, 5), words)
    converted = weights.quantize_dynamic(model)
    with ot.no_grad():
        real, quantized = model(ot.from_numpy(words)), converted(ot.from_numpy(words))
    assert real.shape == (7, 3, 5)
    assert sqnr(quantized, real) > 20
