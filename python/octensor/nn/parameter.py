"""`Parameter`: a `Tensor` that a `Module` owns and an optimiser changes.

Assigning a `Parameter` to an attribute of a `Module` registers it, so that `Module.parameters()` finds it.
"""

from __future__ import annotations

from typing import Any, TypeVar

from .._C import QTensor
from ..tensor import Tensor

P = TypeVar("P", bound="Parameter")


class Parameter(Tensor):
    """A tensor that is a module's own: registered on assignment, trained by default.

    Parameters
    ----------
    data : array_like or Tensor
        Values; made float32. Shares memory where it can.
    requires_grad : bool
        Whether `backward` fills `grad`.

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.Parameter([1.0, 2.0]).requires_grad
    True
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        try:
            super().__init__(data, requires_grad=requires_grad)
        except TypeError as error:
            raise TypeError(f"Parameter: data: {error}") from None

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __call__(self: P) -> P:
        """Return the parameter: quantized layers of PyTorch have `bias()` where float ones have `bias`."""
        return self


def _itself(tensor: QTensor) -> QTensor:
    """Return the tensor: the same for `weight()`, where a QTensor has taken the parameter's place."""
    return tensor


for _name in {"__call__"} - set(vars(QTensor)):
    setattr(QTensor, _name, _itself)
