"""`fuse_modules`: make one layer of a convolution or linear layer and what follows it.

Fusion is data. The first layer stays and carries the others; their places are taken by `nn.Identity`:

=========================== =========================================== =========================
sequence                    eval mode                                   train mode
=========================== =========================================== =========================
Conv, BatchNorm             weight and bias folded                      ``conv.norm = bn``
Conv, BatchNorm, ReLU       folded, and ``conv.activation = relu``      both attributes set
Conv, ReLU                  ``conv.activation = relu``                  the same
Linear, BatchNorm1d (,ReLU) as Conv                                     as Conv
Linear, ReLU                ``linear.activation = relu``                the same
BatchNorm2d/3d, ReLU        ``bn.activation = relu``                    the same
ConvTranspose, BatchNorm    weight and bias folded                      refused
=========================== =========================================== =========================

Conv, ConvTranspose and BatchNorm of 1, 2 or 3 axes. Behind a Conv or Linear, ReLU6 does as well as ReLU.

Folding a batch norm with running mean ``m``, variance ``v``, weight ``g`` and bias ``b`` into a layer ``W x + c``:

    r = g / sqrt(v + eps)        W' = W r  (per output channel)        c' = (c - m) r + b

in float64, rounded once to float32. A new sequence is one line in `FUSERS`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from octensor import nn
from octensor.nn import batchnorm, conv
from octensor.nn.module import Module
from octensor.nn.parameter import Parameter

Fuser = Callable[..., Module]


def fold_batch_norm(
    weight: np.ndarray,
    bias: np.ndarray | None,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    eps: float,
    gamma: np.ndarray | None,
    beta: np.ndarray | None,
    channel_axis: int = 0,
    groups: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 weight and bias of one layer that equals a layer followed by batch norm in eval mode.

    Parameters
    ----------
    weight
        Output channels first; or, of transposed convolutions, on axis 1, by group.
    bias, gamma, beta
        Shape (channels,), or None for 0, 1 and 0.
    running_mean, running_var
        Shape (channels,).
    channel_axis, groups
        1 and the number of groups for a transposed convolution.

    Raises
    ------
    ValueError
        If the result is not finite in float32.
    """
    wide = np.float64
    ratio = 1 / np.sqrt(running_var.astype(wide) + eps)
    if gamma is not None:
        ratio = ratio * gamma.astype(wide)
    kernel = [1] * (weight.ndim - 2)
    if channel_axis == 0:
        folded_weight = weight.astype(wide) * ratio.reshape(-1, 1, *kernel)
    else:  # (groups · inputs, outputs of a group, kernel...)
        by_group = weight.astype(wide).reshape(groups, -1, *weight.shape[1:])
        folded_weight = (by_group * ratio.reshape(groups, 1, -1, *kernel)).reshape(weight.shape)
    folded_bias = ((0 if bias is None else bias.astype(wide)) - running_mean.astype(wide)) * ratio
    if beta is not None:
        folded_bias = folded_bias + beta.astype(wide)
    with np.errstate(over="ignore"):
        result = folded_weight.astype(np.float32), folded_bias.astype(np.float32)
    bad = sorted({int(c) for a in result for c in np.nonzero(~np.isfinite(a))[0]})
    if bad:
        raise ValueError(
            f"batch norm: expected statistics that fold into finite float32 weights, got others in channels {bad[:8]}: "
            "look at running_var (negative?), running_mean and weight there"
        )
    return result


def fold_norm_(layer: Module, norm: Module) -> Module:
    """Fold an eval-mode batch norm into ``layer``, in place; return the layer.

    Raises
    ------
    ValueError
        If the norm has no running statistics or another number of channels.
    """
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(
            "batch norm: expected running statistics, got none: make it with track_running_stats=True and train it"
        )
    _check_channels(layer, norm)
    gamma, beta, bias = (None if p is None else np.asarray(p) for p in (norm.weight, norm.bias, layer.bias))
    weight, bias = fold_batch_norm(
        np.asarray(layer.weight),
        bias,
        np.asarray(norm.running_mean),
        np.asarray(norm.running_var),
        norm.eps,
        gamma,
        beta,
        layer.channel_axis,
        getattr(layer, "groups", 1),
    )
    layer.weight, layer.bias = Parameter(weight), Parameter(bias)
    return layer


def _check_channels(layer: Module, norm: Module) -> None:
    channels = layer.weight.shape[0] if layer.channel_axis == 0 else layer.out_channels
    if norm.num_features != channels:
        raise ValueError(
            f"batch norm: expected num_features={channels}, the output channels of the {type(layer).__name__}, "
            f"got {norm.num_features}"
        )


def fuse_conv_bn(layer: Module, bn: Module) -> Module:
    """Fold the batch norm (eval mode), or attach it as ``layer.norm`` (train mode)."""
    if not layer.training:
        return fold_norm_(layer, bn)
    if layer.channel_axis != 0:
        raise ValueError(
            f"expected a {type(layer).__name__} and its batch norm in eval mode, got train mode: they are only fused "
            "by folding; call model.eval() first"
        )
    _check_channels(layer, bn)
    if not (bn.affine and bn.track_running_stats):
        raise ValueError(
            "batch norm: expected affine=True and track_running_stats=True to fuse in train mode, got "
            f"affine={bn.affine}, track_running_stats={bn.track_running_stats}"
        )
    layer.norm = bn
    return layer


def fuse_conv_bn_relu(layer: Module, bn: Module, relu: Module) -> Module:
    """Fuse the batch norm as `fuse_conv_bn` does, then attach the ReLU."""
    return fuse_activation(fuse_conv_bn(layer, bn), relu)


def fuse_activation(layer: Module, relu: Module) -> Module:
    """Attach a ReLU as ``layer.activation``."""
    layer.activation = relu
    return layer


fuse_linear_bn = fuse_conv_bn

FUSERS: dict[tuple[type[Module], ...], Fuser] = {(nn.Linear, batchnorm.BatchNorm1d): fuse_linear_bn}
for _relu in (nn.ReLU, nn.ReLU6):
    FUSERS[nn.Linear, _relu] = fuse_activation
    FUSERS[nn.Linear, batchnorm.BatchNorm1d, _relu] = fuse_conv_bn_relu


for _conv, _transposed, _norm in (
    (conv.Conv1d, conv.ConvTranspose1d, batchnorm.BatchNorm1d),
    (conv.Conv2d, conv.ConvTranspose2d, batchnorm.BatchNorm2d),
    (conv.Conv3d, conv.ConvTranspose3d, batchnorm.BatchNorm3d),
):
    FUSERS[_conv, _norm] = fuse_conv_bn
    for _relu in (nn.ReLU, nn.ReLU6):
        FUSERS[_conv, _norm, _relu] = fuse_conv_bn_relu
        FUSERS[_conv, _relu] = fuse_activation
    FUSERS[_transposed, _norm] = fuse_conv_bn
    if _norm is not batchnorm.BatchNorm1d:
        FUSERS[_norm, nn.ReLU] = fuse_activation


def get_fuser_method(
    op_list: Sequence[type[Module]],
    additional_fuser_method_mapping: Mapping[tuple[type[Module], ...], Fuser] | None = None,
) -> Fuser:
    """Return the function that fuses modules of these types, in this order.

    Raises
    ------
    ValueError
        If there is none; the message lists what there is.
    """
    table = {**FUSERS, **(additional_fuser_method_mapping or {})}
    fuser = table.get(tuple(op_list))
    if fuser is None:
        known = "; ".join(", ".join(t.__name__ for t in types) for types in table)
        got = ", ".join(t.__name__ for t in op_list)
        raise ValueError(f"expected one of the sequences [{known}], got [{got}]")
    return fuser


def fuse_known_modules(
    mod_list: Sequence[Module],
    additional_fuser_method_mapping: Mapping[tuple[type[Module], ...], Fuser] | None = None,
) -> list[Module]:
    """Fuse modules that follow each other; the first of the result is the fused one, the others are `nn.Identity`.

    Hooks that still make sense move along: pre-forward hooks of the first module and forward hooks of the last. The
    others saw tensors that no longer exist; they are dropped with a warning.

    Raises
    ------
    ValueError
        If there is no rule for the sequence, its modules differ in train mode, or one was fused or prepared before.
    """
    first, last = mod_list[0], mod_list[-1]
    training = {m.training for m in mod_list}
    if len(training) > 1:
        modes = ", ".join(f"{type(m).__name__}: {'train' if m.training else 'eval'}" for m in mod_list)
        raise ValueError(
            f"expected all modules in train mode or all in eval mode, got {modes}: "
            "call .eval() (or .train()) on the model"
        )
    if (
        first.stage != "float"
        or getattr(first, "activation", None) is not None
        or getattr(first, "norm", None) is not None
    ):
        state = "already fused" if first.stage == "float" else f"in the {first.stage} stage"
        raise ValueError(
            f"expected a float {type(first).__name__} that is not fused yet, got one {state}: fuse once, before prepare"
        )
    fuser = get_fuser_method([type(m) for m in mod_list], additional_fuser_method_mapping)
    hooks = dict(last._forward_hooks)
    lost = [m for m in mod_list if (m is not last and m._forward_hooks) or (m is not first and m._forward_pre_hooks)]
    if lost:
        names = ", ".join(type(m).__name__ for m in lost)
        warnings.warn(
            f"fuse_modules: hooks of {names} are dropped: what they looked at is now inside one layer", stacklevel=3
        )
    for m in mod_list:
        m._forward_hooks.clear()
        if m is not first:
            m._forward_pre_hooks.clear()
    fused = fuser(*mod_list)
    fused._forward_hooks.update(hooks)
    rest = [nn.Identity() for _ in mod_list[1:]]
    for identity in rest:
        identity.training = fused.training
    return [fused, *rest]


def fuse_modules(
    model: Module,
    modules_to_fuse: Sequence[str] | Sequence[Sequence[str]],
    inplace: bool = False,
    fuser_func: Callable[..., list[Module]] = fuse_known_modules,
    fuse_custom_config_dict: Mapping[str, Any] | None = None,
) -> Module:
    """Fuse the named modules of a model (see the table at the head of this file).

    Parameters
    ----------
    model
        The model; in eval mode for static quantization, in train mode for quantization-aware training.
    modules_to_fuse
        Dotted names in order, ``["conv", "bn", "relu"]``, or a list of such lists.
    inplace
        Change ``model`` itself; by default a copy is changed.
    fuser_func
        What does it: takes the modules and the additional mapping, returns as many.
    fuse_custom_config_dict
        ``{"additional_fuser_method_mapping": {(TypeA, TypeB): function}}``.

    Returns
    -------
    The fused model.

    Raises
    ------
    ValueError
        If a name is unknown, or the modules cannot be fused; the message starts with their names.

    >>> import octensor as ot
    >>> model = ot.nn.Sequential(ot.nn.Linear(2, 2), ot.nn.ReLU())
    >>> fuse_modules(model, ["0", "1"])[1]
    Identity()
    """
    groups = _groups(modules_to_fuse)
    if not inplace:
        model = copy.deepcopy(model)
    additional = (fuse_custom_config_dict or {}).get("additional_fuser_method_mapping")
    for names in groups:
        modules = [_find(model, name) for name in names]
        try:
            fused = fuser_func(modules, additional)
        except ValueError as error:
            raise ValueError(f"fuse_modules: {list(names)}: {error}") from None
        fused[0].fused_from = tuple(names)
        for name, module in zip(names, fused, strict=True):
            parent, _, key = name.rpartition(".")
            setattr(model.get_submodule(parent), key, module)
    return model


def _groups(modules_to_fuse: Any) -> list[Sequence[str]]:
    if isinstance(modules_to_fuse, (list, tuple)) and modules_to_fuse:
        groups = [modules_to_fuse] if isinstance(modules_to_fuse[0], str) else list(modules_to_fuse)
        if all(isinstance(g, (list, tuple)) and len(g) > 1 and all(isinstance(n, str) for n in g) for g in groups):
            return groups
    raise TypeError(
        "fuse_modules: modules_to_fuse: expected names of at least two modules, ['conv', 'relu'], or a list of such "
        f"lists, got {modules_to_fuse!r}"
    )


def _find(model: Module, name: str) -> Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        named = [path for path, module in model.named_modules() if path and not list(module.children())]
        raise ValueError(
            f"fuse_modules: {name!r}: the model has no module of this name; it has {', '.join(named)}"
        ) from None
