"""Quantized ops give PyTorch's codes, or the codes beside them where its float rounding differs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pairs import activations, assert_within_one_step, both, weights

import octensor as ot

OURS, THEIRS = ot.ops.quantized, torch.ops.quantized
F, TF = ot.nn.functional, torch.nn.functional
SEEDS = range(3)


def rngs(*key):
    return np.random.default_rng([*key])


# --- products -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("m", "k", "n"), [(1, 16, 8), (33, 70, 65), (64, 512, 24)])
@pytest.mark.usefixtures("exact_products")
def test_linear(m, k, n, bias, relu, per_channel, seed, count):
    rng = rngs(1, seed, m)
    x, w = activations(rng, (m, k)), weights(rng, (n, k), per_channel)
    b = both(rng.standard_normal(n).astype(np.float32)) if bias else (None, None)
    name = "linear_relu" if relu else "linear"
    scale = 0.05 * 0.01 * 45 * 45 * k**0.5 / 60
    ours = getattr(OURS, name)(x.ot, OURS.linear_prepack(w.ot, b[0]), scale, 100)
    theirs = getattr(THEIRS, name)(x.torch, THEIRS.linear_prepack(w.torch, b[1]), scale, 100)
    assert_within_one_step(ours, theirs, count)


CONVOLUTIONS = [
    # dims, x, out channels, kernel, stride, padding, dilation, groups
    (1, (2, 6, 30), 8, [3], [1], [1], [1], 1),
    (1, (1, 8, 25), 8, [5], [2], [2], [2], 4),
    (2, (2, 8, 12, 11), 16, [3, 3], [1, 1], [1, 1], [1, 1], 1),
    (2, (1, 16, 9, 9), 16, [3, 3], [1, 1], [1, 1], [1, 1], 16),
    (2, (1, 8, 14, 13), 12, [3, 2], [2, 1], [0, 1], [1, 2], 4),
    (2, (1, 3, 20, 20), 8, [1, 1], [1, 1], [0, 0], [1, 1], 1),
    (3, (1, 4, 6, 7, 8), 8, [3, 3, 3], [1, 1, 1], [1, 1, 1], [1, 1, 1], 1),
    (3, (2, 4, 5, 6, 6), 4, [2, 3, 1], [1, 2, 1], [0, 1, 0], [1, 1, 1], 2),
]


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=lambda c: f"{c[0]}d-{c[3]}-groups{c[7]}")
@pytest.mark.usefixtures("exact_products")
def test_conv(case, per_channel, relu, count):
    dims, shape, out, kernel, *geometry, groups = case
    rng = rngs(2, dims, out)
    x, w = activations(rng, shape), weights(rng, (out, shape[1] // groups, *kernel), per_channel)
    bias = both(rng.standard_normal(out).astype(np.float32))
    scale = 0.05 * 0.01 * 45 * 45 * np.prod(kernel) ** 0.5 * (shape[1] // groups) ** 0.5 / 60
    op, prepack = f"conv{dims}d_relu" if relu else f"conv{dims}d", f"conv{dims}d_prepack"
    ours = getattr(OURS, op)(x.ot, getattr(OURS, prepack)(w.ot, bias[0], *geometry, groups), scale, 110)
    theirs = getattr(THEIRS, op)(x.torch, getattr(THEIRS, prepack)(w.torch, bias[1], *geometry, groups), scale, 110)
    assert_within_one_step(ours, theirs, count)


TRANSPOSED = [
    (1, (2, 4, 9), 6, [3], [2], [1], [1], [1], 1),
    (2, (1, 4, 6, 5), 6, [3, 3], [2, 2], [1, 1], [1, 0], [1, 1], 1),
    (2, (1, 4, 6, 5), 4, [2, 2], [2, 2], [0, 0], [0, 0], [1, 1], 1),
]


@pytest.mark.parametrize("case", TRANSPOSED, ids=lambda c: f"{c[0]}d-{c[3]}")
@pytest.mark.usefixtures("exact_products")
def test_conv_transpose(case, count):
    dims, shape, out, kernel, stride, padding, output_padding, dilation, groups = case
    rng = rngs(3, dims, out)
    x, w = activations(rng, shape), weights(rng, (shape[1], out // groups, *kernel), per_channel=False)
    bias = both(rng.standard_normal(out).astype(np.float32))
    geometry = (stride, padding, output_padding, dilation, groups)
    op, prepack = f"conv_transpose{dims}d", f"conv_transpose{dims}d_prepack"
    ours = getattr(OURS, op)(x.ot, getattr(OURS, prepack)(w.ot, bias[0], *geometry), 0.1, 120)
    theirs = getattr(THEIRS, op)(x.torch, getattr(THEIRS, prepack)(w.torch, bias[1], *geometry), 0.1, 120)
    assert_within_one_step(ours, theirs, count)


# --- element by element ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["quint8", "qint8"])
@pytest.mark.parametrize("op", ["add", "add_relu", "mul", "mul_relu"])
@pytest.mark.parametrize("seed", SEEDS)
def test_binary(op, dtype, seed, count):
    rng = rngs(4, seed)
    a, b = activations(rng, (4, 1000), dtype, 0.031), activations(rng, (4, 1000), dtype, 0.017)
    args = (0.04 if op.startswith("add") else 0.03, int(rng.integers(0, 100)))
    assert_within_one_step(getattr(OURS, op)(a.ot, b.ot, *args), getattr(THEIRS, op)(a.torch, b.torch, *args), count)


@pytest.mark.parametrize("op", ["add_scalar", "mul_scalar", "add_scalar_relu", "mul_scalar_relu"])
@pytest.mark.parametrize("c", [1.0, 20.0, -20.0, 0.0, -0.37, 2.5])
def test_scalar(op, c, count):
    x = activations(rngs(5), (300,), scale=0.1, zero_point=100)
    assert_within_one_step(getattr(OURS, op)(x.ot, c), getattr(THEIRS, op)(x.torch, c), count)


@pytest.mark.parametrize("op", ["cat", "cat_relu"])
def test_cat(op, count):
    rng = rngs(6)
    xs = [activations(rng, (2, c, 5), scale=0.02 + 0.01 * c, zero_point=90 + c) for c in (1, 4, 3)]
    args = (1, 0.05, 100)
    ours = getattr(OURS, op)([x.ot for x in xs], *args)
    assert_within_one_step(ours, getattr(THEIRS, op)([x.torch for x in xs], *args), count)


UNARY = {
    "hardswish": (0.02, 10),
    "elu": (0.03, 50),
    "celu": (0.03, 50),
    "sigmoid": (1 / 200, 3),
    "leaky_relu": (0.04, 60),
}


@pytest.mark.parametrize("dtype", ["quint8", "qint8"])
@pytest.mark.parametrize("op", UNARY)
def test_unary_with_given_qparams(op, dtype, count):
    x = activations(rngs(7), (2000,), dtype)
    scale, zero_point = UNARY[op]
    if op == "leaky_relu":
        args = (0.1, False, scale, zero_point)
    else:
        args = (scale, zero_point)
    assert_within_one_step(getattr(OURS, op)(x.ot, *args), getattr(THEIRS, op)(x.torch, *args), count)


@pytest.mark.parametrize("dtype", ["quint8", "qint8"])
@pytest.mark.parametrize("op", ["sigmoid", "tanh", "hardsigmoid", "relu", "relu6", "leaky_relu", "hardtanh"])
def test_unary_functions(op, dtype, count):
    x = activations(rngs(8), (2000,), dtype)
    ours = getattr(F, op)(x.ot)
    theirs = getattr(torch if op in ("sigmoid", "tanh", "relu") else TF, op)(x.torch)
    assert_within_one_step(ours, theirs, count)


# --- pools, resampling ----------------------------------------------------------------------------------------

SHAPES = {1: (2, 3, 17), 2: (2, 5, 11, 9), 3: (1, 3, 7, 6, 8)}
POOLS = [
    ("max_pool1d", 1, {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("max_pool2d", 2, {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("max_pool2d", 2, {"kernel_size": 2, "dilation": 2, "ceil_mode": True}),
    ("avg_pool1d", 1, {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("avg_pool2d", 2, {"kernel_size": 3, "stride": 2, "padding": 1}),
    ("avg_pool2d", 2, {"kernel_size": 3, "padding": 1, "count_include_pad": False}),
    ("avg_pool2d", 2, {"kernel_size": 2, "ceil_mode": True}),
    ("avg_pool2d", 2, {"kernel_size": 2, "divisor_override": 3}),
    ("avg_pool3d", 3, {"kernel_size": 2}),
    ("avg_pool3d", 3, {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}),
    ("adaptive_avg_pool1d", 1, {"output_size": 5}),
    ("adaptive_avg_pool2d", 2, {"output_size": (3, 4)}),
    ("adaptive_avg_pool2d", 2, {"output_size": 1}),
    ("adaptive_avg_pool3d", 3, {"output_size": (2, 3, 3)}),
    ("interpolate", 2, {"scale_factor": 2, "mode": "nearest"}),
    ("interpolate", 2, {"size": (17, 5), "mode": "bilinear", "align_corners": False}),
    ("interpolate", 2, {"size": (17, 5), "mode": "bilinear", "align_corners": True}),
    ("interpolate", 3, {"scale_factor": 2, "mode": "nearest"}),
]


@pytest.mark.parametrize(("op", "dims", "kwargs"), POOLS)
def test_pools(op, dims, kwargs, count):
    x = activations(rngs(9, dims), SHAPES[dims])
    assert_within_one_step(getattr(F, op)(x.ot, **kwargs), getattr(TF, op)(x.torch, **kwargs), count)


# --- norms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "op", ["batch_norm1d", "batch_norm2d", "batch_norm3d", "batch_norm2d_relu", "batch_norm3d_relu"]
)
def test_batch_norm(op, count):
    rng = rngs(10)
    x = activations(rng, {"1": (4, 6, 9), "2": (2, 6, 7, 8), "3": (2, 6, 3, 4, 5)}[op[10]])
    stats = [both(rng.uniform(0.5, 2, 6).astype(np.float32)) for _ in range(4)]
    args = (1e-5, 0.04, 90)
    ours = getattr(OURS, op)(x.ot, *(s[0] for s in stats), *args)
    assert_within_one_step(ours, getattr(THEIRS, op)(x.torch, *(s[1] for s in stats), *args), count)


@pytest.mark.parametrize("op", ["layer_norm", "group_norm", "instance_norm"])
@pytest.mark.parametrize("affine", [False, True])
def test_norms_of_the_input(op, affine, count):
    rng = rngs(11)
    x = activations(rng, (3, 6, 8, 10))
    shape = (8, 10) if op == "layer_norm" else (6,)
    gamma, beta = (both(rng.standard_normal(shape).astype(np.float32)) if affine else (None, None) for _ in range(2))
    extra = {"layer_norm": [[8, 10]], "group_norm": [3], "instance_norm": []}[op]
    args = (1e-5, 0.03, 110)
    ours = getattr(OURS, op)(x.ot, *extra, gamma[0], beta[0], *args)
    assert_within_one_step(ours, getattr(THEIRS, op)(x.torch, *extra, gamma[1], beta[1], *args), count)
