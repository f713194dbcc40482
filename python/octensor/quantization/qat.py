"""Quantization-aware training: `prepare_qat` and `quantize_qat`.

A prepared layer trains in float, with its weight and its output rounded to codes by the fake quantizers in its slots
(`fake_quantize`); in eval mode it returns exactly what the converted layer will. The usual schedule::

    model.train()
    model.qconfig = get_default_qat_qconfig()
    model = prepare_qat(fuse_modules(model, ...))
    for epoch in range(epochs):
        train_one_epoch(model)
        if epoch > 3:
            model.apply(disable_observer)
        if epoch > 2:
            model.apply(octensor.nn.intrinsic.qat.freeze_bn_stats)
    model = convert(model.eval())
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from octensor.nn.module import Module
from octensor.quantization.convert import convert, swapped_for
from octensor.quantization.fake_quantize import FakeQuantizeBase, is_activation_post_process
from octensor.quantization.prepare import _check_model, _observed, check_qconfigs, swap_children


def prepare_qat(model: Module, mapping: Mapping[type[Module], Any] | None = None, inplace: bool = False) -> Module:
    """Make a float model ready for quantization-aware training: fill its slots with fake quantizers.

    Parameters
    ----------
    model
        A float model in train mode, fused as far as wanted, with a ``qconfig`` whose factories make fake quantizers.
    mapping
        Additional swaps, ``{Class: QATClass}``: modules of these types that have a qconfig are replaced by
        ``QATClass.from_float(module)`` first.
    inplace
        Change ``model`` itself; by default a copy is changed.

    Returns
    -------
    The prepared model. Train it, then `convert` it in eval mode.

    Raises
    ------
    ValueError
        If no module has a qconfig, a qconfig holds an observer, or the model is in eval mode or was prepared before.
    """
    check_qconfigs("prepare_qat", model, "get_default_qat_qconfig()")
    if not model.training:
        raise ValueError(
            "prepare_qat: expected a model in train mode, got one in eval mode: call model.train() first "
            "(calibration without training starts with prepare)"
        )
    if not inplace:
        model = copy.deepcopy(model)
    if mapping:
        from octensor.quantization.prepare import propagate_qconfig_

        propagate_qconfig_(model)
        model = swap_children(model, lambda m: swapped_for(m, mapping, {}))
    _observed("prepare_qat", model)
    settle_fakes("prepare_qat", model)
    return model


def settle_fakes(function: str, model: Module) -> None:
    """Let the fake quantizers of a prepared model observe in training only; raise where there is an observer."""
    for path, m in model.named_modules():
        if isinstance(m, FakeQuantizeBase):
            m.observe_in_eval = False
        elif not is_activation_post_process(m) and m.stage == "calibrating" and any(m._modules.get(s) for s in m.slots):
            raise ValueError(
                f"{function}: {path or type(m).__name__}: expected a qconfig of fake quantizers, got one that makes "
                f"{type(m.activation_post_process).__name__}: use get_default_qat_qconfig()"
            )


def quantize_qat(model: Module, run_fn: Callable[..., Any], run_args: Any, inplace: bool = False) -> Module:
    """Prepare a model, train it with ``run_fn(model, *run_args)``, and convert it."""
    _check_model("quantize_qat", model)
    if not inplace:
        model = copy.deepcopy(model)
    model.train()
    model = prepare_qat(model, inplace=True)
    run_fn(model, *run_args)
    return convert(model.eval(), inplace=True)
