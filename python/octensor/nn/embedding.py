"""`Embedding` and `EmbeddingBag`: rows of a table, and sums, means or maxima of bags of rows.

In the float stage the table is a `Parameter`. In the weight-only stage it is a `QTensor` (quint8, or quint4x2 with two
entries to a byte) with a scale and zero point for each row; the rows read are dequantized and the result is float.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .._C import QTensor
from ..arrays import as_array
from ..ops.embedding import MODES, embedding, embedding_bag
from . import init
from .linear import positive
from .module import Module, OutputRule
from .parameter import Parameter


class EmbeddingTable(Module):
    """What both layers share: the table.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Rows and columns of the table.
    _weight : Tensor, optional
        The table to begin with; drawn from a normal distribution otherwise.
    padding_idx : int, optional
    max_norm, norm_type, scale_grad_by_freq, sparse
        For PyTorch's signature; only its defaults are offered.
    """

    output_rule: ClassVar[OutputRule] = "float"
    weight_names = ("weight",)
    weight: Any

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        _weight: Any,
        max_norm: float | None,
        norm_type: float,
        scale_grad_by_freq: bool,
        sparse: bool,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        positive(name, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        for option, value in (("max_norm", max_norm), ("scale_grad_by_freq", scale_grad_by_freq), ("sparse", sparse)):
            if value not in (None, False):
                raise ValueError(f"{name}: {option}: expected its default (it is not offered), got {value!r}")
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(
                f"{name}: padding_idx: expected an index in [{-num_embeddings}, {num_embeddings - 1}], "
                f"got {padding_idx!r}"
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = None if padding_idx is None else padding_idx % num_embeddings
        self.norm_type = norm_type
        shape = (num_embeddings, embedding_dim)
        if _weight is None:
            self.weight = Parameter(np.empty(shape, np.float32))
            self.reset_parameters()
            return
        if tuple(_weight.shape) != shape:
            raise ValueError(f"{name}: _weight: expected shape {shape}, got {tuple(_weight.shape)}")
        self.weight = Parameter(_weight)

    def reset_parameters(self) -> None:
        """Draw a new table from a normal distribution; the row of `padding_idx` is 0."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            as_array(self.weight)[self.padding_idx] = 0

    @classmethod
    def from_pretrained(cls, embeddings: Any, freeze: bool = True, **kwargs: Any) -> Any:
        """Make a layer with a given table, which is not trained unless `freeze` is False."""
        rows, columns = embeddings.shape
        layer = cls(rows, columns, _weight=embeddings, **kwargs)
        layer.weight.requires_grad = not freeze
        return layer

    def _table_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        return text if self.padding_idx is None else f"{text}, padding_idx={self.padding_idx}"

    def _weight_repr(self) -> str:
        return f", dtype={self.weight.dtype}" if isinstance(self.weight, QTensor) else ""


class Embedding(EmbeddingTable):
    """Rows of a table, by index.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Rows and columns of the table.
    padding_idx : int, optional
        A row that is 0 at the beginning and gets no gradient.
    max_norm, norm_type, scale_grad_by_freq, sparse
        For PyTorch's signature; only its defaults are offered.

    Attributes
    ----------
    weight : Parameter or QTensor, shape (num_embeddings, embedding_dim)

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.Embedding(10, 4)(ot.tensor([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Any = None,
    ) -> None:
        unused = max_norm, norm_type, scale_grad_by_freq, sparse
        super().__init__(num_embeddings, embedding_dim, padding_idx, _weight, *unused)

    def forward(self, input: Any) -> Any:
        """Return the rows that the integers in `input` name: shape (*input.shape, embedding_dim)."""
        return embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Sizes."""
        return self._table_repr() + self._weight_repr()


class EmbeddingBag(EmbeddingTable):
    """Sums, means or maxima of bags of rows.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Rows and columns of the table.
    mode : {"mean", "sum", "max"}
    include_last_offset : bool
        Whether the last offset is the end of the last bag.
    padding_idx : int, optional
        Indices that are left out of their bags.
    max_norm, norm_type, scale_grad_by_freq, sparse
        For PyTorch's signature; only its defaults are offered.

    Attributes
    ----------
    weight : Parameter or QTensor, shape (num_embeddings, embedding_dim)

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.EmbeddingBag(10, 4, mode="sum")(ot.tensor([1, 2, 3, 4]), ot.tensor([0, 1])).shape
    (2, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Any = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"EmbeddingBag: mode: expected one of {MODES}, got {mode!r}")
        unused = max_norm, norm_type, scale_grad_by_freq, sparse
        super().__init__(num_embeddings, embedding_dim, padding_idx, _weight, *unused)
        self.mode = mode
        self.include_last_offset = include_last_offset

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        """Return one row for each bag.

        Parameters
        ----------
        input : integer tensor, shape (N,) with offsets, or (bags, length) without
        offsets : integer tensor, shape (bags,), optional
            Where in `input` each bag starts.
        per_sample_weights : Tensor, shape of `input`, optional
            Multiplies each row; for mode "sum" only.
        """
        options = per_sample_weights, self.include_last_offset, self.padding_idx
        return embedding_bag(input, self.weight, offsets, self.mode, *options)

    def extra_repr(self) -> str:
        """Sizes and mode."""
        return f"{self._table_repr()}, mode={self.mode!r}{self._weight_repr()}"
