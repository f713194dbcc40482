"""Pools, upsampling, shuffles and padding as layers: what they compute, and that QTensors keep their qparams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octensor as ot
from octensor import nn
from octensor.nn import functional as F

SIZES = {1: (9,), 2: (9, 8), 3: (7, 6, 5)}


@pytest.fixture(autouse=True)
def _seed() -> None:
    ot.manual_seed(0)


def both(layer: Any, size: tuple[int, ...], channels: int = 4) -> tuple[np.ndarray, Any, Any]:
    """The float result on values that are codes times a step, the quantized result, and the codes."""
    codes = ot.quantize_per_tensor(ot.randn(2, channels, *size) * 2, 0.05, 100, ot.quint8)
    result = layer(codes)
    assert result.qparams == codes.qparams
    return layer(codes.dequantize()).numpy(), result, codes


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_max_pool(axes: int) -> None:
    layer = getattr(nn, f"MaxPool{axes}d")(3, stride=2, padding=1)
    real, result, codes = both(layer, SIZES[axes])
    np.testing.assert_array_equal(result.dequantize().numpy(), real)
    values = codes.dequantize().numpy()
    corner = values[(slice(None), slice(None), *(slice(0, 2),) * axes)]
    np.testing.assert_array_equal(real[(..., *(0,) * axes)], corner.max(tuple(range(2, axes + 2))))
    assert layer.kernel_size == (3,) * axes


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_avg_pool(axes: int) -> None:
    layer = getattr(nn, f"AvgPool{axes}d")(2, padding=1, count_include_pad=False)
    real, result, codes = both(layer, SIZES[axes])
    assert np.abs(result.dequantize().numpy() - real).max() <= 0.0251
    values = codes.dequantize().numpy()
    inner = values[(slice(None), slice(None), *(slice(1, 3),) * axes)]
    np.testing.assert_allclose(real[(..., *(1,) * axes)], inner.mean(tuple(range(2, axes + 2))), atol=1e-5)
    by_three = getattr(nn, f"AvgPool{axes}d")(1, divisor_override=4) if axes > 1 else None
    if by_three:
        np.testing.assert_allclose(by_three(codes.dequantize()).numpy(), values / 4, atol=1e-6)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_adaptive_avg_pool(axes: int) -> None:
    layer = getattr(nn, f"AdaptiveAvgPool{axes}d")(1)
    real, result, codes = both(layer, SIZES[axes])
    assert real.shape == (2, 4, *(1,) * axes)
    want = codes.dequantize().numpy().mean(tuple(range(2, axes + 2)), keepdims=True)
    np.testing.assert_allclose(real, want, atol=1e-5)
    assert np.abs(result.dequantize().numpy() - real).max() <= 0.0251


@pytest.mark.parametrize(
    ("layer", "function"),
    [
        (nn.Upsample(scale_factor=2), lambda x: F.interpolate(x, scale_factor=2)),
        (nn.Upsample((4, 5), mode="nearest"), lambda x: F.interpolate(x, (4, 5))),
        (nn.UpsamplingNearest2d(scale_factor=3), lambda x: F.interpolate(x, scale_factor=3)),
        (nn.UpsamplingBilinear2d(12), lambda x: F.interpolate(x, 12, mode="bilinear", align_corners=True)),
        (nn.PixelShuffle(2), lambda x: F.pixel_shuffle(x, 2)),
        (nn.PixelUnshuffle(2), lambda x: F.pixel_unshuffle(x, 2)),
        (nn.ChannelShuffle(2), lambda x: F.channel_shuffle(x, 2)),
    ],
)
def test_resizing_layers_are_their_functions(layer: Any, function: Any) -> None:
    real, result, codes = both(layer, (8, 6))
    assert function(codes.dequantize()).equal(real)
    assert np.array_equal(function(codes).int_repr(), result.int_repr())
    assert np.abs(result.dequantize().numpy() - real).max() <= 0.0251


def test_shuffles_undo_each_other() -> None:
    x = ot.arange(2 * 4 * 4 * 6).reshape(2, 4, 4, 6).float()
    assert nn.PixelUnshuffle(2)(nn.PixelShuffle(2)(x)).equal(x)
    assert nn.ChannelShuffle(2)(x)[0, :, 0, 0].numpy().tolist() == [0, 48, 24, 72]


@pytest.mark.parametrize(
    ("layer", "axes", "mode", "options"),
    [
        (nn.ConstantPad1d(2, 0.5), 1, "constant", {"constant_values": 0.5}),
        (nn.ConstantPad2d((1, 2, 3, 0), 0.5), 2, "constant", {"constant_values": 0.5}),
        (nn.ConstantPad3d(1, -1.0), 3, "constant", {"constant_values": -1.0}),
        (nn.ZeroPad2d(2), 2, "constant", {}),
        (nn.ReflectionPad1d(2), 1, "reflect", {}),
        (nn.ReflectionPad2d((1, 2, 3, 0)), 2, "reflect", {}),
        (nn.ReflectionPad3d(1), 3, "reflect", {}),
        (nn.ReplicationPad1d(3), 1, "edge", {}),
        (nn.ReplicationPad2d(1), 2, "edge", {}),
        (nn.ReplicationPad3d(1), 3, "edge", {}),
    ],
)
def test_padding_layers(layer: Any, axes: int, mode: str, options: dict[str, Any]) -> None:
    real, result, codes = both(layer, SIZES[axes])
    sides = [layer.padding[2 * i : 2 * i + 2] for i in range(axes)][::-1]
    want = np.pad(codes.dequantize().numpy(), ((0, 0), (0, 0), *sides), mode, **options)
    np.testing.assert_array_equal(real, want)
    np.testing.assert_allclose(result.dequantize().numpy(), want, atol=1e-6)
    with pytest.raises(ValueError, match="axes"):
        layer(ot.zeros(2, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.MaxPool1d((2, 2)), "MaxPool1d: kernel_size"),
        (lambda: nn.MaxPool3d(2, return_indices=True), "return_indices"),
        (lambda: nn.AvgPool3d(2, divisor_override=0), "divisor_override"),
        (lambda: nn.AdaptiveAvgPool1d((2, 2)), "output_size"),
        (lambda: nn.Upsample(), "either size or scale_factor"),
        (lambda: nn.Upsample(4, 2), "either size or scale_factor"),
        (lambda: nn.PixelShuffle(0), "upscale_factor"),
        (lambda: nn.ReflectionPad2d((1, 2)), "padding: expected an integer or 4"),
        (lambda: nn.ChannelShuffle(3)(ot.zeros(1, 4, 2, 2)), "groups"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
