"""Fusion: folding batch norms, attaching activations, moving hooks."""

from __future__ import annotations

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.quantization import fuse
from test_static_quantization import RNG, converted, settled


def sequence(kind):
    parts = {
        "conv": lambda: nn.Conv2d(2, 4, 3, groups=2),
        "conv-nobias": lambda: nn.Conv2d(2, 4, 3, bias=False),
        "bn2": lambda: nn.BatchNorm2d(4),
        "bn1": lambda: nn.BatchNorm1d(4),
        "linear": lambda: nn.Linear(3, 4),
        "relu": nn.ReLU,
    }
    return nn.Sequential(*(parts[name]() for name in kind.split()))


SEQUENCES = [
    "conv bn2",
    "conv-nobias bn2",
    "conv bn2 relu",
    "conv relu",
    "linear relu",
    "linear bn1",
    "linear bn1 relu",
]


@pytest.mark.rows(223, 225)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", SEQUENCES)
def test_fused_equals_unfused(kind, training):
    shape = (6, 3) if "linear" in kind else (6, 2, 5, 5)
    x = ot.from_numpy(RNG.standard_normal(shape).astype(np.float32))
    model = settled(sequence(kind), x).train(training)
    fused = tq.fuse_modules(model, [str(i) for i in range(len(model))])
    assert all(type(m) is nn.Identity for m in list(fused)[1:])
    assert (fused[0].norm is not None) == (training and "bn" in kind)
    assert (fused[0].activation is not None) == ("relu" in kind)
    np.testing.assert_allclose(fused(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_norm_attached_in_training_is_folded_by_convert():
    x = ot.from_numpy(RNG.standard_normal((6, 2, 5, 5)).astype(np.float32))
    model = settled(nn.Sequential(tq.QuantStub(), *sequence("conv bn2 relu"), tq.DeQuantStub()), x).train()
    fused = tq.fuse_modules(model, ["1", "2", "3"]).eval()
    static = converted(fused, x)
    assert static[1].norm is None
    assert tq.sqnr(model.eval()(x), static(x)) > 28


@pytest.mark.rows(226)
def test_folding_rounds_once():
    w, b, m, v, g, beta = (RNG.standard_normal(s).astype(np.float32) for s in ((4, 3), 4, 4, 4, 4, 4))
    v = np.abs(v) * 1e-3
    weight, bias = fuse.fold_batch_norm(w, b, m, v, 1e-5, g, beta)
    r = g.astype(np.float64) / np.sqrt(v.astype(np.float64) + 1e-5)
    np.testing.assert_array_equal(weight, (w * r[:, None]).astype(np.float32))
    np.testing.assert_allclose(bias, (b.astype(np.float64) - m) * r + beta, rtol=1e-6)


@pytest.mark.rows(226)
def test_folding_takes_the_norms_eps_and_square_transposed_kernels():
    x = ot.from_numpy(RNG.standard_normal((3, 4, 5, 5)).astype(np.float32))
    for layer in (nn.Conv2d(4, 4, 3), nn.ConvTranspose2d(4, 4, 3)):
        model = settled(nn.Sequential(layer, nn.BatchNorm2d(4, eps=0.5)), x).eval()
        model[1].weight.data = np.array([0.5, 1, 2, 3], np.float32)
        np.testing.assert_allclose(tq.fuse_modules(model, ["0", "1"])(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.rows(223)
def test_hooks_move_with_the_fusion():
    calls = []
    model = sequence("conv bn2 relu").eval()
    model[0].register_forward_pre_hook(lambda m, args: calls.append("pre"))
    model[2].register_forward_hook(lambda m, args, y: calls.append(float(y.numpy().min()) >= 0))
    tq.fuse_modules(model, ["0", "1", "2"])(ot.randn(1, 2, 5, 5))
    assert calls == ["pre", True]
    model[1].register_forward_hook(lambda *args: None)
    with pytest.warns(UserWarning, match="hooks of BatchNorm2d are dropped"):
        tq.fuse_modules(model, ["0", "1", "2"])


@pytest.mark.rows(224, 239)
def test_custom_fusers():
    def keep_first(linear, identity):
        return linear

    config = {"additional_fuser_method_mapping": {(nn.Linear, nn.Flatten): keep_first}}
    model = nn.Sequential(nn.Linear(1, 1), nn.Flatten())
    assert isinstance(tq.fuse_modules(model, ["0", "1"], fuse_custom_config_dict=config)[1], nn.Identity)
    assert tq.get_fuser_method([nn.Conv2d, nn.ReLU]) is fuse.fuse_activation
