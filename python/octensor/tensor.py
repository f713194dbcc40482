"""`Tensor`: a NumPy array with a gradient.

The values are float32, or integers or booleans for labels, indices and masks. Arrays go in and out without a copy where
their dtype allows it: `Tensor(array)` and `np.asarray(tensor)` share memory.

Operators and most methods are not written here: each op of `octensor.ops` that names a `method` attaches itself to this
class when the package is imported. What stands here needs no op: access, comparison, in-place writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, Union

import numpy as np

from . import autograd
from .arrays import FLOAT, array_of, as_array
from .inplace import InPlace

TensorLike = Union["Tensor", np.ndarray, float, int, bool]
S = TypeVar("S", bound="Tensor")


class Tensor(InPlace):
    """A NumPy array with a gradient.

    Parameters
    ----------
    data : array_like
        Values. Floating values of another width become float32; integers and booleans keep their dtype.
    requires_grad : bool
        Whether operations on it are recorded, so that `backward` fills `grad`.

    Attributes
    ----------
    grad : Tensor or None
        The gradient that `backward` has gathered.

    Examples
    --------
    >>> import octensor as ot
    >>> x = ot.Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ("__weakref__", "_array", "_node", "_requires_grad", "grad")
    __array_priority__ = 1000.0  # ndarray + Tensor is a Tensor
    is_quantized = False

    _array: np.ndarray
    _node: autograd.Node | None
    _requires_grad: bool
    grad: Tensor | None

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self._array = array_of(type(self).__name__, "data", data)
        self._node = None
        self._requires_grad = False
        self.grad = None
        if requires_grad:
            self.requires_grad = True

    @classmethod
    def _wrap(cls, array: Any) -> Tensor:
        """Make a tensor around the result of an op."""
        tensor = Tensor.__new__(Tensor)
        array = np.asarray(array)
        tensor._array = array if array.dtype is FLOAT or array.dtype != np.float64 else array.astype(FLOAT)
        tensor._node = None
        tensor._requires_grad = False
        tensor.grad = None
        return tensor

    if TYPE_CHECKING:  # attached by octensor.ops

        def __getattr__(self, name: str) -> Callable[..., Any]: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...

    # --- values --------------------------------------------------------------------------------------
    @property
    def data(self) -> Tensor:
        """The same values without gradient or history; assigning replaces the values."""
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        array = as_array(value)
        if self._requires_grad and array.dtype != FLOAT:
            raise TypeError(f"data: expected float32 values in a trained tensor, got {array.dtype}")
        self._array = array

    def numpy(self) -> np.ndarray:
        """Return the values, sharing memory."""
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if dtype is not None and np.dtype(dtype) != self._array.dtype:
            return self._array.astype(dtype)
        return self._array.copy() if copy else self._array

    def item(self) -> Any:
        """Return the one value as a Python number."""
        if self._array.size != 1:
            raise ValueError(f"item: expected a tensor with one value, got shape {self.shape}")
        return self._array.item()

    def tolist(self) -> Any:
        """Return the values as nested lists of Python numbers."""
        return self._array.tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self._array.dtype.kind not in "iu":
            raise TypeError(f"index: expected an integer tensor, got {self._array.dtype}")
        return int(self.item())

    def __bool__(self) -> bool:
        if self._array.size != 1:
            raise ValueError(f"bool: the truth of a tensor of shape {self.shape} is ambiguous: use .any() or .all()")
        return bool(self._array.item())

    def __len__(self) -> int:
        if self._array.ndim == 0:
            raise TypeError("len: a tensor without axes has no length")
        return int(self._array.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        for i in range(len(self)):
            yield self[i]

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self._array.size == 1 else format(str(self), spec)

    def __repr__(self) -> str:
        text = np.array2string(self._array, separator=", ", prefix="tensor(", precision=4, suppress_small=True)
        if self._array.size == 0:
            text += f", size={self.shape}"
        if self._array.dtype.kind == "b" or self._array.dtype not in (FLOAT, np.dtype(np.int64)):
            text += f", dtype={self._array.dtype.name}"
        if self._node is not None:
            text += f", grad_fn=<{self._node.name}>"
        elif self._requires_grad:
            text += ", requires_grad=True"
        return f"tensor({text})"

    # --- shape and kind ------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype:
        """float32, an integer dtype or bool (NumPy dtypes)."""
        return self._array.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    @property
    def device(self) -> str:
        """Always "cpu"."""
        return "cpu"

    @property
    def T(self) -> Tensor:
        """The tensor with its axes in reverse order."""
        result: Tensor = self.permute(*reversed(range(self.ndim)))
        return result

    def dim(self) -> int:
        """Return the number of axes."""
        return self._array.ndim

    def size(self, dim: int | None = None) -> Any:
        """Return the shape, or the size of one axis."""
        return self._array.shape if dim is None else self._array.shape[dim]

    def numel(self) -> int:
        """Return the number of values."""
        return int(self._array.size)

    nelement = numel

    def element_size(self) -> int:
        """Return the bytes of one value."""
        return int(self._array.itemsize)

    def stride(self, dim: int | None = None) -> Any:
        """Return the strides, counted in elements."""
        strides = tuple(s // self._array.itemsize for s in self._array.strides)
        return strides if dim is None else strides[dim]

    def is_contiguous(self) -> bool:
        """Whether the values lie in memory in logical order without gaps."""
        return bool(self._array.flags.c_contiguous)

    def is_floating_point(self) -> bool:
        """Whether the values are float32."""
        return self._array.dtype == FLOAT

    # --- gradient ------------------------------------------------------------------------------------
    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value and self._array.dtype != FLOAT:
            raise TypeError(f"requires_grad: expected float32 values, got {self._array.dtype}")
        if not value and self._node is not None:
            raise ValueError("requires_grad: a computed tensor keeps its history: use .detach()")
        self._requires_grad = bool(value)

    def requires_grad_(self: S, requires_grad: bool = True) -> S:
        """Set `requires_grad`; return self."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor was given rather than computed by a recorded op."""
        return self._node is None

    @property
    def grad_fn(self) -> autograd.Node | None:
        """The record of the op that made this tensor, or None."""
        return self._node

    def detach(self) -> Tensor:
        """Return a tensor that shares the values and has no history."""
        return Tensor._wrap(self._array)

    def backward(self, gradient: TensorLike | None = None, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor to the `grad` of every leaf it was computed from.

        Parameters
        ----------
        gradient : array_like, optional
            The gradient of the objective with respect to this tensor; left out for a tensor with one value (1).
        retain_graph : bool
            Whether to keep the history for a second call.
        """
        if not self._requires_grad:
            raise RuntimeError("backward: this tensor does not require a gradient")
        if gradient is None:
            if self._array.size != 1:
                raise ValueError(
                    f"backward: gradient: expected one of shape {self.shape}, got none: reduce the tensor "
                    "to one value (.sum(), .mean()) or pass its gradient"
                )
            grad = np.ones_like(self._array)
        else:
            grad = as_array(gradient, np.float32)
            if grad.shape != self.shape:
                raise ValueError(f"backward: gradient: expected shape {self.shape}, got {grad.shape}")
        autograd.backward(self, grad, retain_graph)

    def _accumulate(self, part: np.ndarray) -> None:
        """Add `part` to `grad`; the first part is copied if it might be someone else's memory."""
        part = part.astype(FLOAT, copy=False)
        if self.grad is None:
            self.grad = Tensor._wrap(part.copy())
        else:
            self.grad._array = self.grad._array + part

    # --- comparison ----------------------------------------------------------------------------------
    def _compared(self, ufunc: np.ufunc, other: Any) -> Tensor:
        return Tensor._wrap(ufunc(self._array, other if np.isscalar(other) else as_array(other)))

    def __eq__(self, other: object) -> Any:
        return self._compared(np.equal, other) if other is not None else False

    def __ne__(self, other: object) -> Any:
        return self._compared(np.not_equal, other) if other is not None else True

    def __lt__(self, other: Any) -> Tensor:
        return self._compared(np.less, other)

    def __le__(self, other: Any) -> Tensor:
        return self._compared(np.less_equal, other)

    def __gt__(self, other: Any) -> Tensor:
        return self._compared(np.greater, other)

    def __ge__(self, other: Any) -> Tensor:
        return self._compared(np.greater_equal, other)

    __hash__ = object.__hash__
    eq, ne, lt, le, gt, ge = __eq__, __ne__, __lt__, __le__, __gt__, __ge__

    def __invert__(self) -> Tensor:
        return Tensor._wrap(~self._array)

    def equal(self, other: Any) -> bool:
        """Whether shape and all values are the same."""
        return bool(np.array_equal(self._array, array_of("equal", "other", other)))

    def allclose(self, other: Any, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
        """Whether all values are within `atol + rtol · |other|`."""
        values = array_of("allclose", "other", other)
        try:
            return bool(np.allclose(self._array, values, rtol=rtol, atol=atol))
        except TypeError:
            raise TypeError(f"allclose: rtol, atol: expected numbers, got {rtol!r} and {atol!r}") from None
        except ValueError:
            raise ValueError(
                f"allclose: other: expected a shape that broadcasts with {self.shape}, got {values.shape}"
            ) from None

    def any(self) -> Tensor:
        """Whether any value is true."""
        return Tensor._wrap(np.any(self._array))

    def all(self) -> Tensor:
        """Whether all values are true."""
        return Tensor._wrap(np.all(self._array))

    # --- conversion ----------------------------------------------------------------------------------
    def to(self, target: Any) -> Tensor:
        """Return the tensor in another dtype; "cpu" returns it as it is."""
        if isinstance(target, str) and target == "cpu":
            return self
        array = as_array(self, target)
        return self if array is self._array else Tensor._wrap(array)

    def cpu(self) -> Tensor:
        """Return self."""
        return self

    def float(self) -> Tensor:
        """Return the values as float32."""
        return self.to(np.float32)

    def int(self) -> Tensor:
        """Return the values as int32."""
        return self.to(np.int32)

    def long(self) -> Tensor:
        """Return the values as int64."""
        return self.to(np.int64)

    def bool(self) -> Tensor:
        """Return the values as booleans."""
        return self.to(np.bool_)

    def dequantize(self) -> Tensor:
        """Return self: it is not quantized."""
        return self

    # --- copies --------------------------------------------------------------------------------------
    def __deepcopy__(self: S, memo: dict[Any, Any]) -> S:
        if self._node is not None:
            raise ValueError("deepcopy: a computed tensor carries history: copy .detach() instead")
        other = type(self).__new__(type(self))
        other.__setstate__((self._array.copy(order="K"), self._requires_grad, None))
        memo[id(self)] = other
        other.grad = None if self.grad is None else self.grad.__deepcopy__(memo)
        return other

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild, (type(self),), (self._array, self._requires_grad, self.grad)

    def __setstate__(self, state: tuple[np.ndarray, Any, Any]) -> None:
        self._array, self._requires_grad, self.grad = state
        self._node = None


def _rebuild(cls: type[S]) -> S:
    return cls.__new__(cls)
