"""Layers: convolutions, linear layers, products of matrices, pools, norms, rows of tables, resizing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..._C import QTensor
from ...graph.rows import Unsupported
from ...program.ir import BatchSize
from .. import scales
from ..draft import TYPES, Site, Value
from ..exporter import row
from ..product import Product


def end(site: Site, y: str, relu: bool) -> Value:
    """Return a layer's result, after the ReLU fused into it."""
    return site.result(site.add("Relu", y) if relu else y)


def _conv(operator: str) -> Callable[..., Value]:
    def write(
        site: Site,
        x: Value,
        weight: Value,
        bias: Any = None,
        *,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        output_padding: Any = None,
        qparams: Any = None,
        relu: bool = False,
    ) -> Value:
        made = Product(site, x, weight, 1 if operator == "Conv" else groups)
        inputs = [site.real(made.x), site.real(made.weight)] + ([] if bias is None else [made.bias(bias)])
        y = site.add(
            operator, *inputs, strides=tuple(stride), pads=(*padding, *padding), dilations=tuple(dilation),
            group=groups, kernel_shape=tuple(weight.meta.shape[2:]),
            output_padding=tuple(output_padding) if output_padding and any(output_padding) else None,
        )  # fmt: skip
        return made.end(y, relu)

    return write


for _axes in (1, 2, 3):
    row(f"conv{_axes}d")(_conv("Conv"))
    row(f"conv_transpose{_axes}d")(_conv("ConvTranspose"))


def transposed_weight(site: Site, weight: Value) -> str:
    """Return the name of a linear layer's weight as [K, N]; a constant is turned before it is written."""
    if weight.constant is None:
        return site.add("Transpose", site.real(weight), perm=(1, 0))
    turned: Any
    if isinstance(weight.constant, QTensor):
        turned = weight.constant.transpose(0, 1).contiguous()
    else:
        turned = np.ascontiguousarray(weight.constant.T)
    return site.real(site.value(turned, f"{weight.name}.t"))


@row("linear", "linear_weight_only")
def linear(site: Site, x: Value, weight: Value, bias: Any = None, *, qparams: Any = None, relu: bool = False) -> Value:
    """X Wᵀ + b: a Gemm for rows, a MatMul for tensors of more axes."""
    made = Product(site, x, weight)
    if x.ndim == 2:
        inputs = [site.real(made.x), site.real(made.weight)] + ([] if bias is None else [made.bias(bias)])
        return made.end(site.add("Gemm", *inputs, transB=1), relu)
    y = site.add("MatMul", site.real(made.x), transposed_weight(site, made.weight))
    return made.end(y if bias is None else site.add("Add", y, made.bias(bias)), relu)


@row("matmul")
def matmul(site: Site, a: Value, b: Value) -> Value:
    """Products of matrices."""
    return site.result(site.add("MatMul", site.real(a), site.real(b)))


# --- pools -----------------------------------------------------------------------------------------------------------


def max_pool(site: Site, x: Value, *, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Value:
    """Largest values of windows."""
    y = site.add(
        "MaxPool", site.real(x), kernel_shape=tuple(kernel), strides=tuple(stride), pads=(*padding, *padding),
        dilations=tuple(dilation), ceil_mode=int(ceil_mode),
    )  # fmt: skip
    return site.result(y)


def mean(site: Site, x: Value, operator: str, **attributes: Any) -> Value:
    """Write a mean; of codes in a unit in which sums are exact (`scales`)."""
    q, meta = x.qparams, site.meta
    if q is None or q != meta.qparams or q.is_per_channel or not site.draft.exact:
        return site.result(site.add(operator, site.real(x), **attributes))
    unit = scales.unit(q)
    y = site.add(operator, site.real(x.with_qparams(unit)), **attributes)
    if operator == "AveragePool" and q.zero_point % 2:
        # ONNX Runtime's kernel adds the zero point before it rounds: the even one of two codes is another then. A Sum
        # of one keeps it from being used.
        y = site.add("Sum", y)
    return Value(site.result(y, meta._replace(qparams=unit)).name, meta)


def avg_pool(
    site: Site,
    x: Value,
    *,
    kernel: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Value:
    """Means of windows."""
    if divisor_override is not None:
        raise Unsupported("ONNX has no divisor_override: multiply by kernel size / divisor instead")
    return mean(
        site, x, "AveragePool", kernel_shape=tuple(kernel), strides=tuple(stride), pads=(*padding, *padding),
        ceil_mode=int(ceil_mode), count_include_pad=int(count_include_pad),
    )  # fmt: skip


def adaptive_avg_pool(site: Site, x: Value, *, output_size: Any) -> Value:
    """Means of windows that divide the input evenly."""
    sizes = x.meta.shape[2:]
    wanted = tuple(n if out is None else out for n, out in zip(sizes, output_size, strict=True))
    if all(out == 1 for out in wanted):
        return mean(site, x, "GlobalAveragePool")
    if any(n % out for n, out in zip(sizes, wanted, strict=True)):
        raise Unsupported(f"windows of several sizes, from {sizes} to {wanted}, which ONNX does not have")
    kernel = tuple(n // out for n, out in zip(sizes, wanted, strict=True))
    return mean(site, x, "AveragePool", kernel_shape=kernel, strides=kernel)


for _axes in (1, 2, 3):
    row(f"max_pool{_axes}d")(max_pool)
    row(f"avg_pool{_axes}d")(avg_pool)
    row(f"adaptive_avg_pool{_axes}d")(adaptive_avg_pool)


# --- norms -----------------------------------------------------------------------------------------------------------


@row("batch_norm")
def batch_norm(
    site: Site, x: Value, weight: Any, bias: Any, mean: Any, var: Any, *, training: bool = False, eps: float,
    qparams: Any = None, relu: bool = False, batch: Any = None,
) -> Value:  # fmt: skip
    """Write a batch norm in eval mode."""
    if training:
        raise Unsupported("a batch norm in train mode: call .eval()")
    channels = x.meta.shape[1]
    scale = site.floats(np.ones(channels)) if weight is None else site.real(weight)
    shift = site.floats(np.zeros(channels)) if bias is None else site.real(bias)
    inputs = (site.real(x), scale, shift, site.real(mean), site.real(var))
    return end(site, site.add("BatchNormalization", *inputs, epsilon=eps), relu)


@row("layer_norm", batched=True)
def layer_norm(
    site: Site, x: Value, weight: Any = None, bias: Any = None, *, rows: Any, eps: float, channels: bool = False,
    qparams: Any = None,
) -> Value:  # fmt: skip
    """Write a norm over the last axes."""
    first = x.ndim - weight.ndim if weight is not None else _first_axis(rows, x)
    scale = site.floats(np.ones(x.meta.shape[first:])) if weight is None else site.real(weight)
    inputs = [site.real(x), scale] + ([] if bias is None else [site.real(bias)])
    return site.result(site.add("LayerNormalization", *inputs, axis=first - x.ndim, epsilon=eps))


def _rows(rows: Any, x: Value) -> int:
    """Return how many runs are normalized; samples along the first axis may be a part of the number."""
    return rows.fixed + rows.per_batch * x.meta.shape[0] if isinstance(rows, BatchSize) else int(rows)


def _first_axis(rows: Any, x: Value) -> int:
    """Return the first axis of a norm without weights; a batch may stand in any axis before it."""
    for i in range(1, x.ndim + 1):
        count = math.prod(x.meta.shape[:i])
        sizes = [n for n in x.meta.shape[:i] if n]
        if rows == count or any(rows == BatchSize(0, count // n) for n in sizes if isinstance(rows, BatchSize)):
            return i
    raise Unsupported("a norm whose runs are not the axes from some axis on")


@row("group_norm", "instance_norm", batched=True)
def group_norm(
    site: Site, x: Value, weight: Any = None, bias: Any = None, *, rows: Any, eps: float, channels: bool = True,
    qparams: Any = None,
) -> Value:  # fmt: skip
    """Write a norm over groups of channels, as an instance norm of groups."""
    shape = x.meta.shape
    groups = _rows(rows, x) // shape[0]
    y = site.real(x)
    if groups != shape[1] or x.ndim == 2:
        y = site.add("Reshape", y, site.ints((0, groups, -1)))
    ones, zeros = site.floats(np.ones(groups)), site.floats(np.zeros(groups))
    y = site.add("InstanceNormalization", y, ones, zeros, epsilon=eps)
    if groups != shape[1] or x.ndim == 2:
        y = site.add("Reshape", y, site.ints((-1, *shape[1:])))
    across = site.ints((-1,) + (1,) * (x.ndim - 2))
    for operator, value in (("Mul", weight), ("Add", bias)):
        if value is not None:
            y = site.add(operator, y, site.add("Reshape", site.real(value), across))
    return site.result(y)


@row("local_response_norm")
def local_response_norm(site: Site, x: Value, *, size: int, alpha: float, beta: float, bias: float) -> Value:
    """Divided by the squares of neighbouring channels."""
    return site.result(site.add("LRN", site.real(x), size=size, alpha=alpha, beta=beta, bias=bias))


# --- rows of tables, resizing ----------------------------------------------------------------------------------------


@row("embedding")
def embedding(site: Site, table: Value, *, indices: Any, padding_idx: int | None = None) -> Value:
    """Rows of a table; of a quantized one codes are gathered and dequantized after."""
    at = site.real(indices, "int64")
    codes = site.add("Gather", table.name, at)
    q = table.qparams
    if q is None:
        return site.result(codes)
    if not q.is_per_channel:
        return site.result(site.dequantize(codes, q))
    floats = site.add("Cast", codes, to=TYPES["float32"])
    for operator, values, part in (("Sub", q.zero_point, "zero_point"), ("Mul", q.scale, "scale")):
        each = np.asarray(values, np.float32).reshape(-1, 1)
        floats = site.add(operator, floats, site.add("Gather", site.floats(each, part), at))
    return site.result(floats)


@row("interpolate")
def interpolate(site: Site, x: Value, *, axes: Any, linear: bool, align_corners: bool) -> Value:
    """Another size, by nearest neighbours or linearly."""
    sizes = x.meta.shape[2:]
    if any(not math.isclose(a.ratio * a.size, n, rel_tol=1e-6) for a, n in zip(axes, sizes, strict=True)):
        raise Unsupported("a scale factor that is not output size / input size: give the size instead")
    whole = [site.add("Shape", site.real(x), start=0, end=2), site.ints([a.size for a in axes], "sizes")]
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    if linear:
        how = {"mode": "linear", "coordinate_transformation_mode": "align_corners" if align_corners else "half_pixel"}
    return site.result(site.add("Resize", site.real(x), "", "", site.add("Concat", *whole, axis=0), **how))
