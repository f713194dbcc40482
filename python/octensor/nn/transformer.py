"""`TransformerEncoderLayer` and `TransformerEncoder`, in float; dynamic quantization treats their parts.

Static quantization needs the sums observed: `nn.quantizable.TransformerEncoderLayer.from_float` makes that form.
"""

from __future__ import annotations

import copy
from typing import Any

from .activation import GELU, ReLU
from .attention import MultiheadAttention
from .container import ModuleList
from .dropout import Dropout
from .linear import Linear, positive
from .module import Module
from .norms import LayerNorm

_ACTIVATIONS = {"relu": ReLU, "gelu": GELU}


class TransformerEncoderLayer(Module):
    """Self-attention and two linear layers, each with a sum and a layer norm around it.

        x = norm1(x + attention(x)),   x = norm2(x + linear2(activation(linear1(x))))

    or, with `norm_first`, the norms on what goes into attention and linear layers.

    Parameters
    ----------
    d_model, nhead : int
        Features and heads.
    dim_feedforward : int
        Features between the two linear layers.
    dropout : float
    activation : {"relu", "gelu"}
    layer_norm_eps : float
    batch_first, norm_first : bool

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.TransformerEncoderLayer(8, 2, 16).eval()(ot.randn(5, 2, 8)).shape
    (5, 2, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        if activation not in _ACTIVATIONS:
            raise ValueError(f"TransformerEncoderLayer: activation: expected 'relu' or 'gelu', got {activation!r}")
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first)
        self.linear1 = Linear(d_model, dim_feedforward)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model)
        self.norm1 = LayerNorm(d_model, layer_norm_eps)
        self.norm2 = LayerNorm(d_model, layer_norm_eps)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = _ACTIVATIONS[activation]()
        self.norm_first = norm_first

    def _sum(self, place: int, x: Any, y: Any) -> Any:
        """Return x + y, the sum after attention (1) or after the linear layers (2)."""
        return x + y

    def forward(self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None) -> Any:
        """Run the layer.

        Parameters
        ----------
        src : Tensor, shape (L, N, d_model), or (N, L, d_model) with `batch_first`
        src_mask : Tensor, shape (L, L), optional
            See `MultiheadAttention.forward`: `attn_mask`.
        src_key_padding_mask : Tensor of bool, shape (N, L), optional
        """
        if self.norm_first:
            x = self._sum(1, src, self._attention(self.norm1(src), src_mask, src_key_padding_mask))
            return self._sum(2, x, self._feed_forward(self.norm2(x)))
        x = self.norm1(self._sum(1, src, self._attention(src, src_mask, src_key_padding_mask)))
        return self.norm2(self._sum(2, x, self._feed_forward(x)))

    def _attention(self, x: Any, mask: Any, padding: Any) -> Any:
        output, _ = self.self_attn(x, x, x, key_padding_mask=padding, need_weights=False, attn_mask=mask)
        return self.dropout1(output)

    def _feed_forward(self, x: Any) -> Any:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class TransformerEncoder(Module):
    """Layers on top of each other.

    Parameters
    ----------
    encoder_layer : TransformerEncoderLayer
        Copied `num_layers` times.
    num_layers : int
    norm : Module, optional
        Applied to the result.
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        positive("TransformerEncoder", num_layers=num_layers)
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm

    def forward(self, src: Any, mask: Any = None, src_key_padding_mask: Any = None) -> Any:
        """Run all layers; the arguments are those of `TransformerEncoderLayer.forward`."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask)
        return src if self.norm is None else self.norm(src)
