"""Layers of `torch.nn` as those of `octensor.nn`, which have their names and constructors; weights share memory."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn
from ..nn.parameter import Parameter
from ..tensor import Tensor

# Arguments that change nothing here: results are new tensors, on the CPU, in float32.
_IGNORED = frozenset(("inplace", "device", "dtype", "momentum", "track_running_stats", "sparse", "scale_grad_by_freq"))


class Unknown(Exception):
    """A part that octensor has not; the text says what of it."""


def array_of(tensor: Any) -> np.ndarray:
    """Return a torch tensor's values: the same memory, but for dtypes that octensor computes in float32."""
    detached = tensor.detach().cpu()
    if detached.is_floating_point() and detached.dtype.itemsize != 4:
        detached = detached.float()
    array: np.ndarray = detached.numpy()
    return array


def convert(module: Any) -> nn.Module:
    """Return the layer that does what a torch layer does, in eval mode, on the same weights.

    Raises
    ------
    Unknown
        If there is none.
    """
    name = type(module).__name__
    if not type(module).__module__.startswith("torch.nn.") or not hasattr(nn, name):
        raise Unknown(f"there is no layer {name}")
    make: Callable[[Any, Any], nn.Module] = _SPECIAL.get(name, _generic)
    made = make(module, getattr(nn, name))
    _share(module, made)
    made.eval()
    return made


def _generic(module: Any, kind: type[nn.Module]) -> nn.Module:
    """Make a layer by the constructor's arguments, which are the torch layer's attributes."""
    ours = inspect.signature(kind).parameters
    theirs = inspect.signature(type(module)).parameters
    arguments: dict[str, Any] = {}
    for name, parameter in theirs.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or not hasattr(module, name):
            continue
        value = getattr(module, name)
        if name == "bias" and not isinstance(value, bool):
            value = value is not None
        if name in ours:
            arguments[name] = value
        elif name not in _IGNORED and value != parameter.default:
            raise Unknown(f"{type(module).__name__} with {name}={value!r:.40}")
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise Unknown(f"{type(module).__name__}: {error!s:.120}") from None


def _attention(module: Any, kind: Any) -> nn.Module:
    if module.bias_k is not None or module.add_zero_attn or module._qkv_same_embed_dim is False:
        raise Unknown("MultiheadAttention with bias_k, add_zero_attn, or kdim and vdim of their own")
    made: nn.Module = kind(
        module.embed_dim, module.num_heads, 0.0, module.in_proj_bias is not None, batch_first=module.batch_first
    )
    return made


def _encoder_layer(module: Any, kind: Any) -> nn.Module:
    activation = getattr(module.activation, "__name__", type(module.activation).__name__).lower()
    if activation not in ("relu", "gelu"):
        raise Unknown(f"TransformerEncoderLayer with activation {activation}")
    made: nn.Module = kind(
        module.self_attn.embed_dim, module.self_attn.num_heads, module.linear1.out_features, 0.0, activation,
        layer_norm_eps=module.norm1.eps, batch_first=module.self_attn.batch_first, norm_first=module.norm_first,
    )  # fmt: skip
    return made


def _recurrent(module: Any, kind: Any) -> nn.Module:
    if getattr(module, "proj_size", 0):
        raise Unknown(f"{type(module).__name__} with proj_size")
    more = {"nonlinearity": module.nonlinearity} if hasattr(module, "nonlinearity") else {}
    made: nn.Module = kind(
        module.input_size, module.hidden_size, module.num_layers, bias=module.bias, batch_first=module.batch_first,
        bidirectional=module.bidirectional, **more,
    )  # fmt: skip
    return made


_SPECIAL: dict[str, Callable[[Any, Any], nn.Module]] = {
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "MultiheadAttention": _attention,
    "RNN": _recurrent,
    "TransformerEncoderLayer": _encoder_layer,
}


def _share(module: Any, made: nn.Module) -> None:
    """Put the torch layer's weights and buffers into the layer."""
    wanted = set(made.state_dict())
    held = dict(module.named_parameters()) | dict(module.named_buffers())
    found = {name for name in held if name.rpartition(".")[2] != "num_batches_tracked"}
    if found != wanted - {name for name in wanted if name.endswith("num_batches_tracked")}:
        different = ", ".join(sorted(found ^ wanted))
        raise Unknown(f"{type(module).__name__} with other weights: {different:.120}")
    for name in found:
        path, _, leaf = name.rpartition(".")
        owner = made.get_submodule(path) if path else made
        array = array_of(held[name])
        if leaf in owner._parameters:
            owner._parameters[leaf] = Parameter(array)
        else:
            owner._buffers[leaf] = Tensor(array)
