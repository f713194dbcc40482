"""Random weights with which activations neither die nor explode, and the two ways to quantize."""

from __future__ import annotations

import math

import numpy as np

import octensor as ot
from octensor import nn
from octensor import quantization as tq


def initialise(model: nn.Module, x: np.ndarray, seed: int = 0) -> nn.Module:
    """Give a float model He weights, scattered norms, and batch-norm statistics from one pass over `x`.

    The last norm of a residual branch is small, as it is after training: else noise grows with every block.
    Deterministic: the same seed gives the same bits.
    """
    rng = np.random.default_rng(seed)

    def normal(like, mean: float, deviation: float) -> None:
        values = rng.standard_normal(tuple(like.shape), np.float32) * np.float32(deviation) + np.float32(mean)
        like.data = ot.from_numpy(values)

    norms = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            normal(module.weight, 1, 0.1)
            normal(module.bias, 0, 0.1)
            norms += [module] if isinstance(module, nn.BatchNorm2d) else []
        elif isinstance(module, nn.Conv2d):
            normal(module.weight, 0, math.sqrt(2 / math.prod(module.weight.shape[1:])))
        elif isinstance(module, nn.Linear):
            normal(module.weight, 0, module.in_features**-0.5)
            normal(module.bias, 0, 0.1)
        elif isinstance(module, nn.Embedding):
            normal(module.weight, 0, 1)
        elif isinstance(module, nn.LSTM):
            for parameter in module.parameters():
                normal(parameter, 0, module.hidden_size**-0.5)
    for block in model.modules():
        if hasattr(block, "skip_add"):
            branch = [(name, m) for name, m in block.named_modules() if isinstance(m, nn.BatchNorm2d)]
            last = [norm for name, norm in branch if not name.startswith("downsample")][-1]
            last.weight.data = last.weight.data * 0.25
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    with ot.no_grad():
        model(ot.from_numpy(x))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    return model.eval()


def quantize_static(model: nn.Module, batches: list[np.ndarray], backend: str | None = None) -> nn.Module:
    """Fuse, prepare, calibrate on the batches, convert; the model given stays float."""
    fused = tq.fuse_modules(model.eval(), model.fusable())
    fused.qconfig = tq.get_default_qconfig(backend) if backend else tq.get_default_qconfig()
    prepared = tq.prepare(fused)
    with ot.no_grad():
        for batch in batches:
            prepared(ot.from_numpy(batch))
    return tq.convert(prepared)


def quantize_dynamic(model: nn.Module) -> nn.Module:
    """Turn linear and recurrent layers to int8, everything else stays."""
    return tq.quantize_dynamic(model.eval(), {nn.Linear, nn.LSTM})
