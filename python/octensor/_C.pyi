"""
Quantized tensors, integer operators and the instruction sets that run them.
"""

from __future__ import annotations

import collections.abc
import enum
import typing

import numpy as np

from octensor.tensor import Tensor

__all__: list[str] = [
    "PackedConv2d",
    "PackedLinear",
    "QParams",
    "QTensor",
    "adaptive_avg_pool2d",
    "add",
    "avg_pool2d",
    "cat",
    "conv2d",
    "cpu_features",
    "dequantize",
    "dtype",
    "get_isa",
    "get_num_threads",
    "isa_list",
    "linear",
    "lookup",
    "matmul_integer",
    "max_pool2d",
    "mul",
    "qint32",
    "qint8",
    "qscheme",
    "quantize",
    "quint8",
    "requantize",
    "set_isa",
    "set_num_threads",
]

class dtype:
    """An element type of quantized tensors: qint8, quint8 or qint32."""

    def __eq__(self, arg0: typing.Any) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> str: ...
    def __repr__(self) -> str: ...
    @property
    def itemsize(self) -> int:
        """Bytes per element."""

    @property
    def name(self) -> str:
        """'qint8', 'quint8' or 'qint32'."""

    @property
    def numpy(self) -> np.dtype[typing.Any]:
        """NumPy's dtype of the codes."""

    @property
    def qmax(self) -> int:
        """Largest code."""

    @property
    def qmin(self) -> int:
        """Smallest code."""

class qscheme(enum.Enum):
    """How parameters are shared and chosen."""

    per_channel_affine = ...
    per_channel_affine_float_qparams = ...
    per_channel_symmetric = ...
    per_tensor_affine = ...
    per_tensor_symmetric = ...

class QParams:
    """What the integers of a quantized tensor mean.

    ``real = (q - zero_point) * scale``, per tensor or per index along `axis`. Immutable.

    Parameters
    ----------
    scale : float or array of float
        Finite, positive, normal as float32; kept as float32. With `axis`, one per channel.
    zero_point : int or array of int
        Inside the range of `dtype`. With `axis`, one per channel.
    dtype : dtype
        ``qint8``, ``quint8`` or ``qint32``.
    axis : int, optional
        The channel axis; None means per tensor.

    Raises
    ------
    ValueError, TypeError
        Where one of these rules is broken."""

    def __eq__(self, arg0: typing.Any) -> bool: ...
    def __hash__(self) -> int: ...
    def __init__(
        self,
        scale: typing.Any,
        zero_point: typing.Any,
        dtype: _DType,
        axis: typing.SupportsInt | typing.SupportsIndex | None = None,
    ) -> None: ...
    def __reduce__(self) -> tuple: ...
    def __repr__(self) -> str: ...
    @property
    def axis(self) -> typing.Any:
        """The channel axis, or None."""

    @property
    def dtype(self) -> typing.Any:
        """The element type."""

    @property
    def is_per_channel(self) -> bool:
        """Whether there is one pair per channel."""

    @property
    def qscheme(self) -> _QScheme:
        """per_tensor_affine or per_channel_affine."""

    @property
    def scale(self) -> typing.Any:
        """float, or a float32 array."""

    @property
    def zero_point(self) -> typing.Any:
        """int, or an int32 array."""

class QTensor:
    """Integer data with its :class:`QParams`.

    A view of shared storage: a shape (logical, NCHW) and strides. Made by ``octensor.quantize_per_tensor``,
    ``quantize_per_channel`` or, without a copy, by :meth:`from_numpy`. The buffer protocol, DLPack and
    ``np.asarray`` give its integer codes."""

    __array_priority__: typing.ClassVar[float] = 1000.0
    requires_grad: typing.ClassVar[bool] = False

    def add(self, other: typing.Any, *, alpha: float = 1) -> typing.Any: ...
    def chunk(self, chunks: int, dim: int = 0) -> tuple[typing.Any, ...]: ...
    def clamp(self, min: float | None = None, max: float | None = None) -> typing.Any: ...
    def dequantize(self) -> typing.Any: ...
    @staticmethod
    def from_numpy(array: np.ndarray, qparams: QParams) -> QTensor:
        """A tensor over an integer array's memory, without a copy.

        Raises
        ------
        TypeError
            Unless the array's dtype is the storage type of ``qparams.dtype``.
        ValueError
            Where per-channel parameters do not fit the shape."""

    def mul(self, other: typing.Any) -> typing.Any: ...
    def relu(self) -> typing.Any: ...
    def sigmoid(self) -> typing.Any: ...
    def split(self, split_size: typing.Any, dim: int = 0) -> tuple[typing.Any, ...]: ...
    def squeeze(self, dim: int | None = None) -> typing.Any: ...
    def t(self) -> typing.Any: ...
    def tanh(self) -> typing.Any: ...
    def unsqueeze(self, dim: int) -> typing.Any: ...
    def view_as(self, other: typing.Any) -> typing.Any: ...
    def __add__(self, other: typing.Any) -> typing.Any: ...
    def __copy__(self) -> QTensor: ...
    def __deepcopy__(self, memo: typing.Any) -> QTensor: ...
    def __dlpack__(self, **kwargs: typing.Any) -> typing.Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __eq__(self, other: typing.Any) -> Tensor: ...
    def __ge__(self, other: typing.Any) -> Tensor: ...
    def __getitem__(self, index: typing.Any) -> QTensor: ...
    def __gt__(self, other: typing.Any) -> Tensor: ...
    def __iadd__(self, other: typing.Any) -> typing.Any: ...
    def __imul__(self, other: typing.Any) -> typing.Any: ...
    def __le__(self, other: typing.Any) -> Tensor: ...
    def __len__(self) -> int: ...
    def __lt__(self, other: typing.Any) -> Tensor: ...
    def __matmul__(self, other: typing.Any) -> typing.Any: ...
    def __mul__(self, other: typing.Any) -> typing.Any: ...
    def __ne__(self, other: typing.Any) -> Tensor: ...
    def __radd__(self, other: typing.Any) -> typing.Any: ...
    def __reduce_ex__(self, protocol: typing.SupportsInt | typing.SupportsIndex) -> tuple: ...
    def __repr__(self) -> str: ...
    def __rmatmul__(self, other: typing.Any) -> typing.Any: ...
    def __rmul__(self, other: typing.Any) -> typing.Any: ...
    def __rsub__(self, other: typing.Any) -> typing.Any: ...
    def __rtruediv__(self, other: typing.Any) -> typing.Any: ...
    def __sub__(self, other: typing.Any) -> typing.Any: ...
    def __truediv__(self, other: typing.Any) -> typing.Any: ...
    def clone(self) -> QTensor:
        """A copy with storage of its own."""

    def contiguous(self, memory_format: typing.Any = None) -> QTensor:
        """This tensor if it is dense in that layout, else a dense copy."""

    def cpu(self) -> typing.Any: ...
    def detach(self) -> typing.Any: ...
    def dim(self) -> int:
        """Number of axes."""

    def element_size(self) -> int:
        """Bytes per element."""

    def eq(self, other: typing.Any) -> Tensor: ...
    def equal(self, other: QTensor) -> bool:
        """Whether parameters, shape and every code agree."""

    def expand(self, *args: typing.Any) -> QTensor:
        """Axes of size 1 repeated without a copy."""

    def flatten(
        self,
        start_dim: typing.SupportsInt | typing.SupportsIndex = 0,
        end_dim: typing.SupportsInt | typing.SupportsIndex = -1,
    ) -> QTensor:
        """Axes start_dim to end_dim as one."""

    def ge(self, other: typing.Any) -> Tensor: ...
    def gt(self, other: typing.Any) -> Tensor: ...
    def int_repr(self) -> np.ndarray:
        """The integer codes as a read-only array that shares this tensor's memory."""

    def is_contiguous(self, memory_format: typing.Any = None) -> bool:
        """Whether the elements are dense in that layout."""

    def item(self) -> typing.Any: ...
    def le(self, other: typing.Any) -> Tensor: ...
    def lt(self, other: typing.Any) -> Tensor: ...
    def nbytes(self) -> int:
        """Bytes of all elements."""

    def ne(self, other: typing.Any) -> Tensor: ...
    def numel(self) -> int:
        """Number of elements."""

    def permute(self, *args: typing.Any) -> QTensor:
        """The axes in another order; a view."""

    def q_per_channel_axis(self) -> int:
        """The channel axis of a per-channel quantized tensor."""

    def q_per_channel_scales(self) -> typing.Any:
        """The scales of a per-channel quantized tensor, float32."""

    def q_per_channel_zero_points(self) -> typing.Any:
        """The zero points of a per-channel quantized tensor, int32."""

    def q_scale(self) -> float:
        """The scale of a per-tensor quantized tensor (a float32 value)."""

    def q_zero_point(self) -> int:
        """The zero point of a per-tensor quantized tensor."""

    def qscheme(self) -> typing.Any:
        """per_tensor_affine or per_channel_affine."""

    def reshape(self, *args: typing.Any) -> QTensor:
        """The same codes in another shape; a view where strides allow it."""

    def size(self, dim: typing.SupportsInt | typing.SupportsIndex | None = None) -> typing.Any:
        """All sizes, or the size of one axis."""

    def stride(self, dim: typing.SupportsInt | typing.SupportsIndex | None = None) -> typing.Any:
        """All strides in elements, or that of one axis."""

    def transpose(
        self, dim0: typing.SupportsInt | typing.SupportsIndex, dim1: typing.SupportsInt | typing.SupportsIndex
    ) -> QTensor:
        """Two axes exchanged; a view."""

    def view(self, *args: typing.Any) -> QTensor:
        """The same codes in another shape, without a copy; ValueError where strides do not allow it."""

    @property
    def dtype(self) -> typing.Any:
        """Element type."""

    @property
    def is_quantized(self) -> bool:
        """True."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    @property
    def qparams(self) -> QParams:
        """Scale, zero point, axis."""

    @property
    def shape(self) -> tuple:
        """Sizes, in logical order."""

class PackedLinear:
    """A linear layer's weight [N, K] made ready for the kernels."""

    def __init__(self, weight: QTensor, bias: typing.Any) -> None: ...
    @property
    def bias(self) -> typing.Any:
        """The float32 bias, or None."""

    @property
    def weight(self) -> QTensor:
        """The quantized weight."""

class PackedConv2d:
    """A convolution's weight [O, C / groups, kh, kw] made ready for the kernels."""

    def __init__(
        self,
        weight: QTensor,
        bias: typing.Any,
        stride: typing.Annotated[
            collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"
        ] = [1, 1],
        padding: typing.Annotated[
            collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"
        ] = [0, 0],
        dilation: typing.Annotated[
            collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"
        ] = [1, 1],
        groups: typing.SupportsInt | typing.SupportsIndex = 1,
    ) -> None: ...
    @property
    def bias(self) -> typing.Any:
        """The float32 bias, or None."""

    @property
    def dilation(self) -> typing.Annotated[list[int], "FixedSize(2)"]: ...
    @property
    def groups(self) -> int: ...
    @property
    def padding(self) -> typing.Annotated[list[int], "FixedSize(2)"]: ...
    @property
    def stride(self) -> typing.Annotated[list[int], "FixedSize(2)"]: ...
    @property
    def weight(self) -> QTensor:
        """The quantized weight."""

def _rebuild_qtensor(
    data: typing.Any,
    shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    channels_last: bool,
    qparams: QParams,
) -> QTensor:
    """Inverse of pickling."""

def adaptive_avg_pool2d(
    input: QTensor,
    output_size: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex | None], "FixedSize(2)"
    ],
) -> QTensor:
    """Mean over windows that cut the input into output_size parts; None keeps a size."""

def add(a: QTensor, b: QTensor, qparams: QParams, relu: bool = False) -> QTensor:
    """``quantize(dequantize(a) + dequantize(b))``, shapes broadcast; with relu the result is at least real 0."""

def avg_pool2d(
    input: QTensor,
    kernel_size: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"],
    stride: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"],
    padding: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: typing.SupportsInt | typing.SupportsIndex | None,
) -> QTensor:
    """``round_half_even(sum(q - z) / divisor) + z`` of each window; same parameters."""

def cat(
    tensors: collections.abc.Sequence[QTensor], dim: typing.SupportsInt | typing.SupportsIndex, qparams: QParams
) -> QTensor:
    """Tensors joined along an axis, each requantized to the result's parameters."""

def conv2d(input: QTensor, packed: PackedConv2d, qparams: QParams, relu: bool = False) -> QTensor:
    """2-D convolution of ``x [N, C, H, W]``, requantized; padding is real 0. The result is channels-last."""

def cpu_features() -> dict:
    """What this CPU and operating system can run, by name."""

def dequantize(input: QTensor) -> np.ndarray:
    """``(q - zero_point) * scale`` as a float32 array."""

def get_isa() -> str:
    """The instruction set whose kernels run."""

def get_num_threads() -> int:
    """How many threads one op may use."""

def isa_list() -> list[tuple[str, bool]]:
    """The instruction sets of this build, best first, each with whether this CPU supports it."""

def linear(input: QTensor, packed: PackedLinear, qparams: QParams, relu: bool = False) -> QTensor:
    """``x [..., K]`` times the weight transposed, plus bias, requantized; see docs/numerics.md."""

def lookup(input: QTensor, table: np.ndarray, qparams: QParams) -> QTensor:
    """Map 8-bit codes through a table: ``out = table[q & 0xFF]``. Every unary 8-bit op is one of these.

    Parameters
    ----------
    input : QTensor
        qint8 or quint8, per tensor.
    table : ndarray of int, 256 entries
        Codes of ``qparams.dtype``, indexed by the raw byte of the input's code.
    qparams : QParams
        The result's parameters."""

def matmul_integer(
    a: np.ndarray, b: np.ndarray, a_zero_point: typing.Any = 0, b_zero_point: typing.Any = 0
) -> np.ndarray:
    """Exact integer matrix product, as ONNX MatMulInteger.

    Parameters
    ----------
    a : ndarray of int8 or uint8, shape [M, K]
    b : ndarray of int8 or uint8, shape [K, N]
    a_zero_point : int
    b_zero_point : int or 1-D ndarray of N ints

    Returns
    -------
    ndarray of int32, shape [M, N]

    Raises
    ------
    ValueError
        Where shapes do not fit or a sum could leave int32."""

def max_pool2d(
    input: QTensor,
    kernel_size: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"],
    stride: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"],
    padding: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"],
    dilation: typing.Annotated[collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"],
    ceil_mode: bool,
) -> QTensor:
    """Largest code of each window; same parameters."""

def mul(a: QTensor, b: QTensor, qparams: QParams, relu: bool = False) -> QTensor:
    """The exact integer product, rescaled by ``float32(sa * sb / so)`` with one rounding; shapes broadcast."""

def quantize(input: np.ndarray, qparams: QParams, channels_last: bool = False) -> QTensor:
    """Quantize float32 values: ``clamp(round_half_even(x / scale) + zero_point)``; NaN gives the zero point.

    Parameters
    ----------
    input : ndarray of float32
        Any shape and strides.
    qparams : QParams
    channels_last : bool
        Lay a 4-D result out channels-last."""

def requantize(input: QTensor, qparams: QParams) -> QTensor:
    """Dequantize, then quantize with other parameters."""

def set_isa(name: str) -> None:
    """Choose the instruction set whose kernels run, for the whole process. Results do not depend on it."""

def set_num_threads(n: typing.SupportsInt | typing.SupportsIndex) -> None:
    """Set how many threads one op may use (1 to 1024). Results do not depend on it."""

qint32: dtype
qint8: dtype
quint8: dtype
_DType = dtype
_QScheme = qscheme
