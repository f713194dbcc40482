"""`MultiheadAttention`: every position of a sequence reads from all positions of another, in several heads.

    q, k, v = projections of query, key, value, cut into heads of size d
    weights = softmax(q kᵀ / sqrt(d) + mask)        output = out_proj(weights v, heads side by side)

`AttentionSteps` is the part around the projections and the product of the heads: layouts, masks, extra keys. The
float layer is here, the one whose parts are observed and converted is in `nn.quantizable`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._C import QTensor
from ..arrays import as_array
from ..ops.dropout import dropout
from ..ops.exact import QUANTIZE, exact
from ..ops.matmul import matmul
from ..ops.shape import cat, chunk
from ..ops.softmax import softmax
from ..tensor import Tensor
from . import init
from .linear import Linear, positive
from .module import Module
from .parameter import Parameter
from .projection import ProjectingLayer
from .weighted import describe


def attend(q: Any, k: Any, v: Any, mask: np.ndarray | None, drop: float = 0.0) -> tuple[Any, Any]:
    """Return (weights v, weights) of heads (B, L, d), (B, S, d) and (B, S, d), in float."""
    scores = matmul(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
    if mask is not None:
        scores = scores + Tensor(mask)
    weights = softmax(scores, -1)
    return matmul(dropout(weights, drop, True) if drop else weights, v), weights


@exact("additive_mask")
def additive_mask(attn_mask: Any, key_padding_mask: Any, heads: int, n: int, steps: tuple[int, int]) -> Any:
    """Return both masks as one float32 array that is added to the scores (n · heads, L, S); None if there is none.

    Parameters
    ----------
    attn_mask : Tensor, shape (L, S) or (n · heads, L, S), or None
        Booleans (True keeps a query from a key) or numbers to add.
    key_padding_mask : Tensor of bool, shape (n, S), or None
        True keeps everything from a key.
    """
    length, keys = steps
    total = None
    if attn_mask is not None:
        mask = as_array(attn_mask)
        if mask.shape not in ((length, keys), (n * heads, length, keys)):
            raise ValueError(
                f"attn_mask: expected shape {(length, keys)} or {(n * heads, length, keys)}, got {mask.shape}"
            )
        total = _as_additive(mask).reshape(-1, length, keys)
    if key_padding_mask is not None:
        mask = as_array(key_padding_mask)
        if mask.shape != (n, keys):
            raise ValueError(f"key_padding_mask: expected shape {(n, keys)}, got {mask.shape}")
        mask = np.repeat(_as_additive(mask), heads, 0)[:, None, :]
        total = mask if total is None else total + mask
    return total


@exact("open_key")
def open_key(mask: np.ndarray) -> np.ndarray:
    """Return an additive mask with one more key, which everything may see."""
    return np.pad(mask, ((0, 0), (0, 0), (0, 1)))


def _as_additive(mask: np.ndarray) -> Any:
    if mask.dtype == np.bool_:
        return np.where(mask, np.float32(-np.inf), np.float32(0))
    return mask.astype(np.float32, copy=False)


class AttentionSteps(Module):
    """What attention layers share; subclasses give the projections and the product of the heads.

    Parameters
    ----------
    embed_dim, num_heads : int
        Features, and the heads they are cut into; `num_heads` divides `embed_dim`.
    dropout : float
        Probability for attention weights in training.
    bias : bool
        Whether the projections have one.
    add_bias_kv : bool
        Whether there is one more key and value, learned.
    add_zero_attn : bool
        Whether there is one more key and value of zeros.
    kdim, vdim : int, optional
        Features of key and value; `embed_dim` by default.
    batch_first : bool
        Whether tensors are (N, L, E) instead of (L, N, E).
    """

    bias_k: Any
    bias_v: Any

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        positive("MultiheadAttention", embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention: num_heads: expected a divisor of embed_dim={embed_dim}, got {num_heads}"
            )
        if not 0 <= dropout <= 1:
            raise ValueError(f"MultiheadAttention: dropout: expected a probability in [0, 1], got {dropout!r}")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.add_zero_attn = add_zero_attn
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.batch_first = batch_first
        self._make_projections(bias)
        for name in ("bias_k", "bias_v"):
            extra = Parameter(np.empty((1, 1, embed_dim), np.float32)) if add_bias_kv else None
            if extra is not None:
                init.xavier_normal_(extra)
            self.register_parameter(name, extra)

    def _make_projections(self, bias: bool) -> None:
        """Make the parameters or layers of the projections."""
        raise NotImplementedError

    def _projections(self, query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
        """Return q, k, v of shape (L, N, E) and (S, N, E)."""
        raise NotImplementedError

    def _heads(self, q: Any, k: Any, v: Any, mask: np.ndarray | None) -> tuple[Any, Any]:
        """Return (weights v, weights) of heads (B, L, d), (B, S, d), (B, S, d)."""
        raise NotImplementedError

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
    ) -> tuple[Any, Any]:
        """Attend.

        Parameters
        ----------
        query : Tensor, shape (L, N, embed_dim), or (N, L, embed_dim) with `batch_first`
        key : Tensor, shape (S, N, kdim)
        value : Tensor, shape (S, N, vdim)
        key_padding_mask : Tensor of bool, shape (N, S), optional
            True keeps everything from a key.
        need_weights : bool
            Whether to return the attention weights.
        attn_mask : Tensor, shape (L, S) or (N · num_heads, L, S), optional
            Booleans (True keeps a query from a key) or numbers to add to the scores.
        average_attn_weights : bool
            Whether the weights are averaged over the heads.

        Returns
        -------
        output : Tensor or QTensor, shape of `query`
        weights : Tensor, shape (N, L, S) or (N, num_heads, L, S); or None
        """
        for name, x, features in (
            ("query", query, self.embed_dim),
            ("key", key, self.kdim),
            ("value", value, self.vdim),
        ):
            if len(getattr(x, "shape", ())) != 3 or x.shape[2] != features:
                layout = "(N, L, E)" if self.batch_first else "(L, N, E)"
                raise ValueError(f"{name}: expected shape {layout} with E = {features}, got {describe(x)}")
        same = query is key and key is value
        query, key, value = (x if isinstance(x, (Tensor, QTensor)) else Tensor(x) for x in (query, key, value))
        if self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        if same:
            key = value = query
        q, k, v = self._projections(query, key, value)
        length, n, keys = q.shape[0], q.shape[1], k.shape[0]
        mask = additive_mask(attn_mask, key_padding_mask, heads=self.num_heads, n=n, steps=(length, keys))
        extras = [(self.bias_k, self.bias_v)] if self.bias_k is not None else []
        if self.add_zero_attn:
            zero = Tensor(np.zeros((1, 1, self.embed_dim), np.float32))
            extras.append((zero, zero))
        for one_k, one_v in extras:
            k, v = _with_row(k, one_k), _with_row(v, one_v)
            mask = None if mask is None else open_key(mask)
        q, k, v = (x.reshape(x.shape[0], n * self.num_heads, self.head_dim).transpose(0, 1) for x in (q, k, v))
        output, weights = self._heads(q, k, v, mask)
        output = self.out_proj(output.transpose(0, 1).reshape(length, n, self.embed_dim))
        if self.batch_first:
            output = output.transpose(0, 1)
        if not need_weights:
            return output, None
        weights = weights.reshape(n, self.num_heads, length, -1)
        return output, weights.mean(1) if average_attn_weights else weights

    def extra_repr(self) -> str:
        """Sizes."""
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}"


def _with_row(x: Any, row: Any) -> Any:
    """Append one row (1, 1, E), the same for the whole batch, to (S, N, E); to a QTensor in its own qparams."""
    if isinstance(x, QTensor):
        return cat([x, QUANTIZE(row.expand(1, *x.shape[1:]), qparams=x.qparams)], 0)
    return cat([x, row.expand(1, *x.shape[1:])], 0)


class MultiheadAttention(AttentionSteps, ProjectingLayer):
    """Attention in float; in the dynamic stage with quantized projections.

    Parameters
    ----------
    embed_dim, num_heads, dropout, bias, add_bias_kv, add_zero_attn, kdim, vdim, batch_first
        See `AttentionSteps`.

    Attributes
    ----------
    in_proj_weight : Parameter, QTensor or float16 array, shape (3 · embed_dim, embed_dim), or None
        Rows for q, k and v; where `kdim` or `vdim` differ there are `q_proj_weight`, `k_proj_weight`, `v_proj_weight`.
    in_proj_bias : Parameter or None, shape (3 · embed_dim,)
    out_proj : Linear

    Examples
    --------
    >>> import octensor as ot
    >>> x = ot.randn(5, 2, 8)
    >>> output, weights = ot.nn.MultiheadAttention(8, 2)(x, x, x)
    >>> output.shape, weights.shape
    ((5, 2, 8), (2, 5, 5))
    """

    def _make_projections(self, bias: bool) -> None:
        e = self.embed_dim
        joint = self.kdim == self.vdim == e
        shapes = {"in_proj_weight": (3 * e, e)} if joint else {}
        if not joint:
            self.register_parameter("in_proj_weight", None)
            shapes = {"q_proj_weight": (e, e), "k_proj_weight": (e, self.kdim), "v_proj_weight": (e, self.vdim)}
        for name, shape in shapes.items():
            setattr(self, name, init.xavier_uniform_(Parameter(np.empty(shape, np.float32))))
        self.weight_names = tuple(shapes)
        self.register_parameter("in_proj_bias", Parameter(np.zeros(3 * e, np.float32)) if bias else None)
        self.out_proj = Linear(e, e, bias)
        if bias:
            init.zeros_(self.out_proj.bias)

    def _projections(self, query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
        for name, x in (("query", query), ("key", key), ("value", value)):
            if isinstance(x, QTensor):
                raise TypeError(
                    f"{name}: expected a float Tensor, got {describe(x)}: put a DeQuantStub before this layer, or "
                    "prepare the model with nn.quantizable.MultiheadAttention in its place"
                )
        if query is key is value and self.in_proj_weight is not None:
            whole = self._product(query, self.in_proj_weight, self.in_proj_bias, "qkv")
            q, k, v = chunk(_tensor(whole), 3, -1)
            return q, k, v
        q, k, v = (self._part(x, i) for i, x in enumerate((query, key, value)))
        return q, k, v

    def weight_of(self, part: int) -> tuple[Any, Any]:
        """Return weight and bias of the projection of q (0), k (1) or v (2)."""
        rows = slice(part * self.embed_dim, (part + 1) * self.embed_dim)
        joint = self.in_proj_weight
        weight = joint[rows] if joint is not None else getattr(self, f"{'qkv'[part]}_proj_weight")
        return weight, None if self.in_proj_bias is None else self.in_proj_bias[rows]

    def _part(self, x: Any, part: int) -> Any:
        return _tensor(self._product(x, *self.weight_of(part), part))

    def _heads(self, q: Any, k: Any, v: Any, mask: np.ndarray | None) -> tuple[Any, Any]:
        return attend(q, k, v, mask, self.dropout if self.training else 0.0)


def _tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(x)
