"""`PackedWeight`: the weight of a functional call in a converted graph, packed for the kernels on first use."""

from __future__ import annotations

from typing import Any

from octensor.nn.module import Module
from octensor.ops import quantized as qops


class PackedWeight(Module):
    """A quantized weight and a float bias, which are its state, and both in the form that kernels read.

    Parameters
    ----------
    op : str
        The function of `octensor.ops.quantized` that they are for: "linear", "conv2d", ….
    weight : QTensor
    bias : Tensor, optional
    settings : dict
        Stride and its like.

    >>> import octensor as ot
    >>> weight = ot.quantize_per_tensor(ot.ones(3, 2), 0.5, 0, ot.qint8)
    >>> sorted(PackedWeight("linear", weight, ot.zeros(3), {}).state_dict())
    ['bias', 'weight']
    """

    def __init__(self, op: str, weight: Any, bias: Any, settings: dict[str, Any]) -> None:
        super().__init__()
        self.op = op
        self.settings = settings
        self.register_buffer("weight", weight)
        self.register_buffer("bias", None if bias is None else bias.detach())

    @property
    def packed(self) -> Any:
        """What the function takes."""
        if self._cache is None:
            prepack = getattr(qops, f"{self.op}_prepack")
            self.__dict__["_cache"] = prepack(self.weight, self.bias, **self.settings)
        return self._cache

    def extra_repr(self) -> str:
        """Name the function."""
        return f"{self.op}, {', '.join(f'{k}={v}' for k, v in self.settings.items())}".rstrip(", ")
