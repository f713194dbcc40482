"""Layers: values against plain NumPy, stages, checks of arguments and shapes, and a small network that learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octensor as ot
from octensor import nn
from octensor.nn import functional as F


def naive_conv(x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> np.ndarray:
    """Convolution as a sum over every index."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2)).astype(np.float64)
    n, _, h, width = x.shape
    o, cg, kh, kw = w.shape
    oh = (h - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (width - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    out = np.zeros((n, o, oh, ow))
    for channel, i, j in np.ndindex(o, oh, ow):
        first = channel // (o // groups) * cg
        rows = i * stride[0] + np.arange(kh) * dilation[0]
        cols = j * stride[1] + np.arange(kw) * dilation[1]
        window = x[:, first : first + cg][:, :, rows][:, :, :, cols]
        out[:, channel, i, j] = (window * w[channel]).sum((1, 2, 3)) + (0 if b is None else b[channel])
    return out


@pytest.mark.parametrize(
    ("channels", "out", "kernel", "stride", "padding", "dilation", "groups"),
    [
        (3, 5, (3, 3), (1, 1), (1, 1), (1, 1), 1),
        (4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2),
        (4, 4, (3, 3), (2, 2), (1, 1), (1, 1), 4),
        (3, 6, (3, 3), (1, 1), (0, 0), (2, 2), 3),
        (5, 7, (1, 1), (1, 1), (0, 0), (1, 1), 1),
        (2, 2, (1, 1), (2, 2), (1, 1), (1, 1), 1),
    ],
)
def test_conv2d_is_the_sum_over_every_index(
    channels: int, out: int, kernel: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> None:
    layer = nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups)
    x = ot.randn(2, channels, 9, 8)
    want = naive_conv(x.numpy(), layer.weight.numpy(), layer.bias.numpy(), stride, padding, dilation, groups)
    np.testing.assert_allclose(layer(x).numpy(), want, rtol=1e-4, atol=1e-5)


def test_conv2d_of_many_images_is_done_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    x, layer = ot.randn(7, 2, 5, 5), nn.Conv2d(2, 3, 3)
    whole = layer(x)
    whole.sum().backward()
    want = layer.weight.grad.numpy().copy()
    layer.zero_grad()
    monkeypatch.setattr("octensor.ops.correlation._COLUMNS_BYTES", 2 * 9 * 9 * 2 * 4)
    parts = layer(x)
    parts.sum().backward()
    np.testing.assert_allclose(parts.numpy(), whole.numpy(), rtol=1e-6)
    np.testing.assert_allclose(layer.weight.grad.numpy(), want, rtol=1e-4, atol=1e-5)


def test_pools_of_a_known_image() -> None:
    x = ot.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    assert nn.MaxPool2d(2)(x).tolist() == [[[[5, 7], [13, 15]]]]
    assert nn.AvgPool2d(2)(x).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert nn.AvgPool2d(2, padding=1)(x)[0, 0, 0].tolist() == [0.0, 0.75, 0.75]
    assert nn.AvgPool2d(2, padding=1, count_include_pad=False)(x)[0, 0, 0].tolist() == [0.0, 1.5, 3.0]
    assert nn.AvgPool2d(3, stride=2, ceil_mode=True)(x)[0, 0, 0].tolist() == [5.0, 6.5]
    assert nn.MaxPool2d(3, stride=2, ceil_mode=True)(x).tolist() == [[[[10, 11], [14, 15]]]]
    assert nn.AdaptiveAvgPool2d(1)(x).tolist() == [[[[7.5]]]]
    assert nn.AdaptiveAvgPool2d((3, None))(x).shape == (1, 1, 3, 4)
    assert (nn.MaxPool2d(3, 1, 1)(x - 100).numpy() < 0).all()


def test_batch_norm_in_training_and_eval() -> None:
    bn = nn.BatchNorm2d(3, momentum=0.2)
    x = ot.randn(4, 3, 5, 5) * 3 + 2
    y = bn(x).numpy()
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var((0, 2, 3)), 1, atol=1e-4)
    array = x.numpy()
    np.testing.assert_allclose(bn.running_mean.numpy(), 0.2 * array.mean((0, 2, 3)), rtol=1e-4)
    unbiased = array.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(bn.running_var.numpy(), 0.8 + 0.2 * unbiased, rtol=1e-4)
    assert bn.num_batches_tracked.item() == 1
    before = bn.running_mean.numpy().copy()
    bn.eval()
    mean, var = (v.numpy().reshape(1, 3, 1, 1) for v in (bn.running_mean, bn.running_var))
    np.testing.assert_allclose(bn(x).numpy(), (array - mean) / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(bn.running_mean.numpy(), before)


def test_batch_norm_without_momentum_averages() -> None:
    bn = nn.BatchNorm1d(2, momentum=None)
    batches = [ot.randn(8, 2) for _ in range(3)]
    for batch in batches:
        bn(batch)
    want = np.mean([b.numpy().mean(0) for b in batches], 0)
    np.testing.assert_allclose(bn.running_mean.numpy(), want, rtol=1e-4, atol=1e-6)


def test_batch_norm_of_quantized_images() -> None:
    bn = nn.BatchNorm2d(2)
    for _ in range(3):
        bn(ot.randn(4, 2, 5, 5) * 2 + 1)
    bn.eval()
    q = ot.quantize_per_tensor(ot.randn(2, 2, 4, 4), 0.03, 120, ot.quint8)
    want = bn(q.dequantize()).numpy()
    bn.activation_post_process = ot.QParams(0.04, 128, ot.quint8)  # for more than the values can be
    assert bn.stage == "static"
    got = bn(q)
    assert np.abs(got.dequantize().numpy() - want).max() <= 0.04 * 0.51


def test_dropout_keeps_the_mean_and_eval_keeps_everything() -> None:
    ot.manual_seed(0)
    layer, x = nn.Dropout(0.25), ot.ones(100, 100)
    y = layer(x).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(y.mean() - 1) < 0.05
    assert layer.eval()(x) is x
    assert nn.Dropout(1.0)(x).numpy().max() == 0
    q = ot.quantize_per_tensor(x, 1, 0, ot.quint8)
    assert layer.train()(q) is q


def test_initial_weights_are_pytorchs() -> None:
    ot.manual_seed(0)
    for layer, fan in ((nn.Linear(50, 200), 50), (nn.Conv2d(8, 64, 3, groups=2), 36)):
        for values in (layer.weight.numpy(), layer.bias.numpy()):
            assert np.abs(values).max() <= fan**-0.5
            assert np.abs(values).max() > 0.9 * fan**-0.5
    ot.manual_seed(1)
    first = nn.Linear(2, 2).weight.tolist()
    ot.manual_seed(1)
    assert nn.Linear(2, 2).weight.tolist() == first


def test_losses() -> None:
    scores, labels = ot.randn(5, 4), ot.tensor([0, 3, 1, 1, 2])
    logs = scores.numpy() - np.log(np.exp(scores.numpy()).sum(1, keepdims=True))
    each = -logs[np.arange(5), labels.numpy()]
    np.testing.assert_allclose(nn.CrossEntropyLoss(reduction="none")(scores, labels).numpy(), each, rtol=1e-5)
    np.testing.assert_allclose(nn.CrossEntropyLoss()(scores, labels).item(), each.mean(), rtol=1e-5)
    np.testing.assert_allclose(F.cross_entropy(scores, labels, reduction="sum").item(), each.sum(), rtol=1e-5)
    huge = F.cross_entropy(ot.tensor([[1e4, 0.0]]), ot.tensor([1]))
    assert huge.item() == 1e4
    a, b = ot.randn(3, 2), ot.randn(3, 2)
    np.testing.assert_allclose(nn.MSELoss()(a, b).item(), ((a.numpy() - b.numpy()) ** 2).mean(), rtol=1e-5)


def test_fused_float_layers_run_what_they_carry() -> None:
    conv, bn, relu = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU()
    x = ot.randn(2, 2, 6, 6)
    fused = nn.intrinsic.ConvBnReLU2d(conv, bn, relu).eval()
    np.testing.assert_array_equal(fused(x).numpy(), relu(bn(conv(x))).numpy())


class Halves(nn.Module):
    """A fake-quantize that rounds to multiples of 1/2, for the test below."""

    slot_stage = "qat"

    def forward(self, x: Any) -> Any:
        return x + ot.Tensor(np.rint(x.numpy() * 2) / 2 - x.numpy())


@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_training_with_a_norm_quantizes_the_folded_weight(kind: str) -> None:
    layer = nn.Conv2d(2, 3, 2) if kind == "conv" else nn.Linear(4, 3)
    norm = nn.BatchNorm2d(3) if kind == "conv" else nn.BatchNorm1d(3)
    x = ot.randn(4, 2, 3, 3) if kind == "conv" else ot.randn(6, 4)
    with ot.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.running_var.uniform_(0.5, 2)
    layer.norm, layer.weight_fake_quant = norm, Halves()
    layer.eval()
    assert layer.stage == "qat"
    factor = norm.weight.numpy() / np.sqrt(norm.running_var.numpy() + 1e-5)
    columns = factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
    rounded = np.rint(layer.weight.numpy() * columns * 2) / 2 / columns
    plain = nn.Conv2d(2, 3, 2) if kind == "conv" else nn.Linear(4, 3)
    plain.weight, plain.bias = nn.Parameter(rounded), layer.bias
    np.testing.assert_allclose(layer(x).numpy(), norm(plain(x)).numpy(), rtol=1e-4, atol=1e-4)
    layer.train()
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    assert norm.weight.grad is not None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(0, 2), "Linear: in_features: expected an integer of at least 1, got 0"),
        (lambda: nn.Linear(2, 2.5), "Linear: out_features"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "expected a divisor of in_channels=3, got 2"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), "Conv2d: kernel_size: expected one or two integers"),
        (lambda: nn.Conv2d(3, 4, 3, stride=0), "Conv2d: stride"),
        (lambda: nn.Conv2d(3, 4, 3, padding=-1), "Conv2d: padding"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), "padding_mode: expected one of 'zeros'"),
        (lambda: nn.BatchNorm2d(3, eps=0), "BatchNorm2d: eps"),
        (lambda: nn.MaxPool2d(0), "MaxPool2d: kernel_size"),
        (lambda: nn.MaxPool2d(2, return_indices=True), "return_indices"),
        (lambda: nn.AdaptiveAvgPool2d(0), "output_size"),
        (lambda: nn.Dropout(1.5), "Dropout: p"),
        (lambda: nn.Hardtanh(1, 1), "Hardtanh"),
        (lambda: nn.CrossEntropyLoss("average"), "reduction: expected one of"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Linear(3, 2)(ot.zeros(4, 5)), r"expected shape \(..., 3\), got \(4, 5\)"),
        (lambda: nn.Conv2d(3, 2, 3)(ot.zeros(3, 8, 8)), r"expected shape \(N, C, H, W\), got \(3, 8, 8\)"),
        (lambda: nn.Conv2d(3, 2, 3)(ot.zeros(1, 3, 2, 8)), "3x3 kernel .* does not fit 2x8 pixels"),
        (lambda: nn.BatchNorm2d(3)(ot.zeros(2, 4, 5, 5)), "with C = 3, got a float Tensor of shape"),
        (lambda: nn.BatchNorm1d(3)(ot.zeros(1, 3)), "more than one value per channel"),
        (lambda: nn.MaxPool2d(3, padding=2)(ot.zeros(1, 1, 8, 8)), "at most half of kernel_size"),
        (lambda: nn.AvgPool2d(9)(ot.zeros(1, 1, 8, 8)), "9x9 window does not fit"),
        (lambda: nn.CrossEntropyLoss()(ot.zeros(2, 3), ot.tensor([0, 3])), r"labels in \[0, 3\), got 0 to 3"),
        (lambda: nn.CrossEntropyLoss()(ot.zeros(2, 3), ot.tensor([0])), r"expected shape \(2,\), got \(1,\)"),
        (lambda: nn.MSELoss()(ot.zeros(2, 3), ot.zeros(2)), r"expected shape \(2, 3\), got \(2,\)"),
        (lambda: ot.cat([ot.zeros(2, 3), ot.zeros(2, 4)], 0), r"tensors\[1\]: expected shape"),
        (lambda: ot.zeros(2, 3).reshape(4, 2), r"\(4, 2\) does not fit a tensor of shape \(2, 3\)"),
    ],
)
def test_wrong_shapes_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_layers_say_which_kind_of_tensor_they_take() -> None:
    q = ot.quantize_per_tensor(ot.zeros(2, 3), 1, 0, ot.quint8)
    with pytest.raises(TypeError, match=r"\(Linear, float\): expected a float Tensor, got a QTensor of shape \(2, 3\)"):
        nn.Linear(3, 2)(q)
    with pytest.raises(TypeError, match=r"\(Linear, static\): expected a quantized input .*: put a QuantStub before"):
        nn.quantized.Linear(3, 2)(ot.zeros(2, 3))
    with pytest.raises(TypeError, match="expected a float Tensor, got a list"):
        nn.Linear(3, 2)([[1.0, 2.0, 3.0]])
    with pytest.raises(TypeError, match="expected integer labels"):
        nn.CrossEntropyLoss()(ot.zeros(2, 3), ot.zeros(2))


def test_same_rule_layers_keep_the_qparams() -> None:
    q = ot.quantize_per_tensor(ot.randn(2, 3, 8, 8), 0.05, 100, ot.quint8)
    layers = [
        nn.ReLU(),
        nn.ReLU6(),
        nn.Hardtanh(),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Identity(),
    ]
    for layer in layers:
        got, want = layer(q), layer(q.dequantize())
        assert got.qparams == q.qparams, layer
        assert got.shape == want.shape, layer
        assert np.abs(got.dequantize().numpy() - want.numpy()).max() <= 0.05 * 0.51, layer


def test_a_small_network_learns() -> None:
    ot.manual_seed(0)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 256)
    images = rng.normal(0, 0.3, (256, 1, 8, 8)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):  # a bright quarter
        row, col = divmod(int(label), 2)
        image[0, row * 4 : row * 4 + 4, col * 4 : col * 4 + 4] += 1
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 4),
    )
    optimizer = ot.optim.Adam(model.parameters(), lr=0.01)
    loss_of = nn.CrossEntropyLoss()
    for _ in range(5):
        for start in range(0, 256, 64):
            optimizer.zero_grad()
            loss = loss_of(model(images[start : start + 64]), labels[start : start + 64])
            loss.backward()
            optimizer.step()
    model.eval()
    with ot.no_grad():
        assert (model(images).argmax(1).numpy() == labels).mean() > 0.95
