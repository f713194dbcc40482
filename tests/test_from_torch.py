"""`from_torch`: models of torch run, quantize and save like octensor's own; they share their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor.quantization import quantize_fx
from octensor.torch import from_torch

torch = pytest.importorskip("torch")
F = torch.nn.functional
tn = torch.nn


class Inverted(tn.Module):
    """Blocks as torchvision has them: expansion, depthwise, squeeze and excitation, residual."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = tn.Sequential(tn.Conv2d(8, 16, 1, bias=False), tn.BatchNorm2d(16), tn.ReLU6(inplace=True))
        self.deep = tn.Sequential(
            tn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), tn.BatchNorm2d(16), tn.Hardswish(inplace=True)
        )
        self.squeeze = tn.Sequential(tn.AdaptiveAvgPool2d(1), tn.Conv2d(16, 4, 1), tn.ReLU(), tn.Conv2d(4, 16, 1))
        self.project = tn.Sequential(tn.Conv2d(16, 8, 1, bias=False), tn.BatchNorm2d(8))

    def forward(self, x: Any) -> Any:
        y = self.deep(self.expand(x))
        y = y * F.hardsigmoid(self.squeeze(y))
        return x + self.project(y)


class Net(tn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = tn.Conv2d(3, 8, 3, stride=2, padding=1), tn.MaxPool2d(3, 2, 1)
        self.blocks = tn.Sequential(Inverted(), Inverted())
        self.up = tn.Upsample(scale_factor=2)
        self.head = tn.Linear(16, 10)
        self.register_buffer("shift", torch.randn(8, 1, 1))

    def forward(self, x: Any) -> Any:
        x = F.relu(self.stem(x), inplace=True)
        y = self.blocks(self.pool(x)) + self.shift
        x += self.up(y)
        x = torch.cat([x, F.avg_pool2d(x, 3, 1, 1)], 1)
        x = F.adaptive_avg_pool2d(x, (1, 1))
        x = torch.flatten(x, 1)
        return F.softmax(self.head(F.dropout(x, 0.5, self.training)), dim=1)


class Attention(tn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out, self.norm, self.act = tn.Linear(16, 48), tn.Linear(16, 16), tn.LayerNorm(16), tn.GELU()
        self.mha = tn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Any) -> Any:
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).contiguous().view(b, n, c)
        x = x + self.act(self.out(y))
        y, _ = self.mha(x, x, x, need_weights=False)
        return (x + y).mean(1)


class Words(tn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.lstm = tn.Embedding(30, 8), tn.LSTM(8, 6, 2, batch_first=True, bidirectional=True)
        self.encoder = tn.TransformerEncoderLayer(12, 3, 20, activation="gelu", batch_first=True)
        self.head = tn.Linear(12, 4)

    def forward(self, ids: Any) -> Any:
        steps, (h, c) = self.lstm(self.table(ids))
        return {"tags": self.head(self.encoder(steps)), "h": h, "size": c}


CASES = {
    "net": lambda: (Net(), torch.randn(4, 3, 32, 32)),
    "attention": lambda: (Attention(), torch.randn(3, 5, 16)),
    "words": lambda: (Words(), torch.randint(0, 30, (3, 7))),
}


def _settled(module: Any) -> Any:
    """Batch norms get statistics of their own."""
    for m in module.modules():
        if isinstance(m, tn.BatchNorm2d):
            m.running_mean.normal_()
            m.running_var.uniform_(0.5, 2)
    return module


def _leaves(value: Any) -> list[np.ndarray]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)]


def _numpy(x: Any) -> Any:
    return ot.Tensor(x.numpy()) if x.is_floating_point() else x.numpy()


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_torch(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x = CASES[name]()
    module = _settled(module)
    model = from_torch(module, x)
    assert module.training
    module.eval()
    more = torch.cat([x, x])[1:]
    with torch.no_grad():
        for a, b in zip(_leaves(model(_numpy(more))), _leaves(module(more)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    ot.save(model, tmp_path / "m.oct", _numpy(x))
    loaded = ot.load(tmp_path / "m.oct")
    for a, b in zip(_leaves(loaded(_numpy(more))), _leaves(model(_numpy(more))), strict=True):
        assert np.array_equal(a, b)
    shared = [(k, v) for k, v in module.state_dict().items() if v.is_floating_point()]
    held = model.state_dict()
    assert all(np.shares_memory(np.asarray(held[k]), v.numpy()) for k, v in shared if k in held)
    assert sum(k in held for k, _ in shared) > 3


def test_models_of_torch_quantize() -> None:
    torch.manual_seed(0)
    module, x = _settled(Net()), torch.randn(16, 3, 32, 32)
    model = from_torch(module, x)
    prepared = quantize_fx.prepare_fx(model, {"": tq.get_default_qconfig()})
    prepared(_numpy(x))
    quantized = quantize_fx.convert_fx(prepared)
    report = tq.report(quantized, _numpy(x))
    assert report.int8_share is not None
    assert report.int8_share > 0.9
    from octensor.quantization.compare import sqnr

    assert sqnr(model(_numpy(x)), quantized(_numpy(x))) > 20


def test_unknown_parts_are_named_all_at_once() -> None:
    class Inner(tn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.odd = tn.FractionalMaxPool2d(2, output_ratio=0.5)
            self.conv = tn.Bilinear(3, 3, 3)

        def forward(self, x: Any) -> Any:
            return torch.linalg.svdvals(self.conv(self.odd(x), x))

    outer = tn.Sequential()
    outer.add_module("inner", Inner())
    with pytest.raises(
        ValueError,
        match=r"(?s)inner\.odd: .*FractionalMaxPool2d.*inner\.conv: there is no layer Bilinear.*inner: linalg_svdvals",
    ):
        from_torch(outer, torch.ones(1, 3, 8, 8))


def test_wrong_uses() -> None:
    with pytest.raises(TypeError, match=r"module: expected a torch\.nn\.Module"):
        from_torch(3, torch.ones(1))
    with pytest.raises(TypeError, match="example_inputs: expected torch tensors"):
        from_torch(tn.ReLU(), np.ones(1))

    class Branches(tn.Module):
        def forward(self, x: Any) -> Any:
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match=r"torch\.fx cannot trace Branches"):
        from_torch(Branches(), torch.ones(2))
