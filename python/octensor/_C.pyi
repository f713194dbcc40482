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
    "PackedConv",
    "PackedFloat",
    "PackedInt4Linear",
    "PackedLinear",
    "PackedWeightOnly",
    "Program",
    "QParams",
    "QTensor",
    "adaptive_avg_pool",
    "add",
    "avg_pool",
    "cat",
    "choose_qparams",
    "conv",
    "cpu_features",
    "dequantize",
    "dtype",
    "exp",
    "float_adaptive_avg_pool",
    "float_avg_pool",
    "float_conv",
    "float_extreme",
    "float_linear",
    "float_matmul",
    "float_max_pool",
    "float_norm",
    "float_pair",
    "float_power",
    "float_resample",
    "float_response_norm",
    "float_softmax",
    "float_sum",
    "float_unary",
    "get_isa",
    "get_num_threads",
    "isa_list",
    "isa_missing",
    "kernel_forms",
    "linear",
    "linear_dynamic",
    "linear_int4",
    "linear_weight_only",
    "lookup",
    "matmul_integer",
    "max_pool",
    "mul",
    "qint32",
    "qint8",
    "qscheme",
    "quantize",
    "quint4x2",
    "quint8",
    "recurrent",
    "recurrent_step",
    "release_memory",
    "requantize",
    "set_conv_algorithm",
    "set_isa",
    "set_num_threads",
    "sigmoid",
    "tanh",
]

class dtype:
    """An element type of quantized tensors: qint8, quint8, qint32 or quint4x2."""

    def __eq__(self, arg0: typing.Any) -> _bool: ...
    def __hash__(self) -> _int: ...
    def __reduce__(self) -> str: ...
    def __repr__(self) -> str: ...
    @property
    def itemsize(self) -> _int:
        """Bytes per element."""

    @property
    def name(self) -> str:
        """'qint8', 'quint8', 'qint32' or 'quint4x2'."""

    @property
    def numpy(self) -> np.dtype[typing.Any]:
        """NumPy's dtype of the codes."""

    @property
    def qmax(self) -> _int:
        """Largest code."""

    @property
    def qmin(self) -> _int:
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
        ``qint8``, ``quint8``, ``qint32`` or ``quint4x2``.
    axis : int, optional
        The channel axis; None means per tensor.
    float_zero_point : bool
        Per-channel zero points are float32 numbers, as embedding weights have them.

    Raises
    ------
    ValueError, TypeError
        Where one of these rules is broken."""

    def __eq__(self, arg0: typing.Any) -> _bool: ...
    def __hash__(self) -> _int: ...
    def __init__(
        self,
        scale: typing.Any,
        zero_point: typing.Any,
        dtype: _DType,
        axis: typing.SupportsInt | typing.SupportsIndex | None = None,
        float_zero_point: _bool = False,
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
    def has_float_zero_point(self) -> _bool:
        """Whether zero points are float32 numbers (embedding weights)."""

    @property
    def is_per_channel(self) -> _bool:
        """Whether there is one pair per channel."""

    @property
    def qscheme(self) -> _QScheme:
        """per_tensor_affine or per_channel_affine."""

    @property
    def scale(self) -> typing.Any:
        """float, or a float32 array."""

    @property
    def zero_point(self) -> typing.Any:
        """int, an int32 array, or a float32 array."""

class QTensor:
    """Integer data with its :class:`QParams`.

    A view of shared storage: a shape (logical, NCHW) and strides. Made by ``octensor.quantize_per_tensor``,
    ``quantize_per_channel`` or, without a copy, by :meth:`from_numpy`. The buffer protocol, DLPack and
    ``np.asarray`` give its integer codes."""

    __array_priority__: typing.ClassVar[_float] = 1000.0

    def __getitem__(self, index: typing.Any) -> typing.Any: ...
    def add(self, other: typing.Any, *, alpha: _float = 1) -> typing.Any: ...
    def amax(self, dim: typing.Any = None, keepdim: _bool = False) -> typing.Any: ...
    def amin(self, dim: typing.Any = None, keepdim: _bool = False) -> typing.Any: ...
    def chunk(self, chunks: _int, dim: _int = 0) -> tuple[typing.Any, ...]: ...
    def clamp(self, min: _float | None = None, max: _float | None = None) -> typing.Any: ...
    def dequantize(self) -> typing.Any: ...
    def erf(self) -> typing.Any: ...
    def expand(self, *shape: typing.Any) -> typing.Any: ...
    def flip(self, *dims: typing.Any) -> typing.Any: ...
    @staticmethod
    def from_numpy(array: np.ndarray, qparams: QParams) -> QTensor:
        """A tensor over an integer array's memory, without a copy.

        Raises
        ------
        TypeError
            Unless the array's dtype is the storage type of ``qparams.dtype``.
        ValueError
            Where per-channel parameters do not fit the shape."""

    def log_softmax(self, dim: _int = -1) -> typing.Any: ...
    def masked_fill(self, mask: typing.Any, value: _float) -> typing.Any: ...
    def max(self, dim: _int | None = None, keepdim: _bool = False) -> typing.Any: ...
    def mean(self, dim: typing.Any = None, keepdim: _bool = False) -> typing.Any: ...
    def min(self, dim: _int | None = None, keepdim: _bool = False) -> typing.Any: ...
    def mul(self, other: typing.Any) -> typing.Any: ...
    def narrow(self, dim: _int, start: _int, length: _int) -> typing.Any: ...
    def relu(self) -> typing.Any: ...
    def repeat(self, *counts: typing.Any) -> typing.Any: ...
    def repeat_interleave(self, repeats: typing.Any, dim: _int | None = None) -> typing.Any: ...
    def select(self, dim: _int, index: _int) -> typing.Any: ...
    def sigmoid(self, **given: typing.Any) -> typing.Any: ...
    def sort(self, dim: _int = -1, descending: _bool = False) -> typing.Any: ...
    def split(self, split_size: typing.Any, dim: _int = 0) -> tuple[typing.Any, ...]: ...
    def squeeze(self, dim: _int | None = None) -> typing.Any: ...
    def t(self) -> typing.Any: ...
    def tanh(self, **given: typing.Any) -> typing.Any: ...
    def topk(self, k: _int, dim: _int = -1, largest: _bool = True, sorted: _bool = True) -> typing.Any: ...
    def unbind(self, dim: _int = 0) -> tuple[typing.Any, ...]: ...
    def unfold(self, dimension: _int, size: _int, step: _int) -> typing.Any: ...
    def unsqueeze(self, dim: _int) -> typing.Any: ...
    def view_as(self, other: typing.Any) -> typing.Any: ...
    @classmethod
    def __new__(cls: type, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def __abs__(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def __add__(self, other: typing.Any) -> typing.Any: ...
    def __array_function__(
        self, function: typing.Any, types: typing.Any, args: typing.Any, kwargs: typing.Any
    ) -> typing.Any: ...
    def __array_ufunc__(
        self, ufunc: typing.Any, method: str, *args: typing.Any, **kwargs: typing.Any
    ) -> typing.Any: ...
    def __call__(self) -> typing.Any: ...
    def __copy__(self) -> QTensor: ...
    def __deepcopy__(self, memo: typing.Any) -> QTensor: ...
    def __dlpack__(self, **kwargs: typing.Any) -> typing.Any: ...
    def __dlpack_device__(self) -> tuple[_int, _int]: ...
    def __eq__(self, other: typing.Any) -> Tensor: ...
    def __float__(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def __ge__(self, other: typing.Any) -> Tensor: ...
    def __gt__(self, other: typing.Any) -> Tensor: ...
    def __iadd__(self, other: typing.Any) -> typing.Any: ...
    def __imul__(self, other: typing.Any) -> typing.Any: ...
    def __int__(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def __isub__(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def __itruediv__(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def __le__(self, other: typing.Any) -> Tensor: ...
    def __len__(self) -> _int: ...
    def __lt__(self, other: typing.Any) -> Tensor: ...
    def __matmul__(self, other: typing.Any) -> typing.Any: ...
    def __mul__(self, other: typing.Any) -> typing.Any: ...
    def __ne__(self, other: typing.Any) -> Tensor: ...
    def __neg__(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def __pow__(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def __radd__(self, other: typing.Any) -> typing.Any: ...
    def __reduce_ex__(self, protocol: typing.SupportsInt | typing.SupportsIndex) -> tuple: ...
    def __repr__(self) -> str: ...
    def __rmatmul__(self, other: typing.Any) -> typing.Any: ...
    def __rmul__(self, other: typing.Any) -> typing.Any: ...
    def __rpow__(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def __rsub__(self, other: typing.Any) -> typing.Any: ...
    def __rtruediv__(self, other: typing.Any) -> typing.Any: ...
    def __setitem__(self, index: typing.Any, value: typing.Any) -> None: ...
    def __sub__(self, other: typing.Any) -> typing.Any: ...
    def __truediv__(self, other: typing.Any) -> typing.Any: ...
    def _assign(self, other: QTensor) -> None:
        """Become a view of what `other` views."""

    def _writable(self) -> np.ndarray:
        """The codes as an array that may be written; ValueError over read-only memory."""

    def abs(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def add_(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def all(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def any(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def argmax(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def argmin(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def as_strided(self, size: typing.Any, stride: typing.Any = None, storage_offset: _int = 0) -> QTensor: ...
    def backward(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def bool(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def clamp_(self, *args: typing.Any, **kwargs: typing.Any) -> QTensor: ...
    def clone(self) -> QTensor:
        """A copy with storage of its own."""

    def contiguous(self, memory_format: typing.Any = None) -> QTensor:
        """This tensor if it is dense in that layout, else a dense copy."""

    def copy_(self, src: typing.Any, non_blocking: _bool = False) -> QTensor: ...
    def cpu(self) -> typing.Any: ...
    def cumsum(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def detach(self) -> typing.Any: ...
    def dim(self) -> _int:
        """Number of axes."""

    def div(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def div_(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def element_size(self) -> _int:
        """Bytes per element."""

    def eq(self, other: typing.Any) -> Tensor: ...
    def equal(self, other: typing.Any) -> _bool: ...
    def exp(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def fill_(self, value: typing.Any) -> QTensor: ...
    def flatten(
        self,
        start_dim: typing.SupportsInt | typing.SupportsIndex = 0,
        end_dim: typing.SupportsInt | typing.SupportsIndex = -1,
    ) -> QTensor:
        """Axes start_dim to end_dim as one."""

    def float(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def ge(self, other: typing.Any) -> Tensor: ...
    def gt(self, other: typing.Any) -> Tensor: ...
    def hardtanh_(self, *args: typing.Any, **kwargs: typing.Any) -> QTensor: ...
    def int(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def int_repr(self) -> np.ndarray:
        """The integer codes as a read-only array that shares this tensor's memory; for quint4x2 a flat array of two codes to a byte."""

    def is_contiguous(self, memory_format: typing.Any = None) -> _bool:
        """Whether the elements are dense in that layout."""

    def item(self) -> typing.Any: ...
    def le(self, other: typing.Any) -> Tensor: ...
    def leaky_relu_(self, *args: typing.Any, **kwargs: typing.Any) -> QTensor: ...
    def log(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def long(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def lt(self, other: typing.Any) -> Tensor: ...
    def matmul(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def minimum(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def mul_(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def nbytes(self) -> _int:
        """Bytes of all elements."""

    def ne(self, other: typing.Any) -> Tensor: ...
    def neg(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def norm(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def numel(self) -> _int:
        """Number of elements."""

    def numpy(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def permute(self, *args: typing.Any) -> QTensor:
        """The axes in another order; a view."""

    def pow(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def q_per_channel_axis(self) -> _int:
        """The channel axis of a per-channel quantized tensor."""

    def q_per_channel_scales(self) -> typing.Any:
        """The scales of a per-channel quantized tensor, float32."""

    def q_per_channel_zero_points(self) -> typing.Any:
        """The zero points of a per-channel quantized tensor, int32."""

    def q_scale(self) -> _float:
        """The scale of a per-tensor quantized tensor (a float32 value)."""

    def q_zero_point(self) -> _int:
        """The zero point of a per-tensor quantized tensor."""

    def qscheme(self) -> typing.Any:
        """per_tensor_affine or per_channel_affine."""

    def relu_(self, *args: typing.Any, **kwargs: typing.Any) -> QTensor: ...
    def requires_grad_(self, requires_grad: _bool = True) -> QTensor: ...
    def reshape(self, *args: typing.Any) -> QTensor:
        """The same codes in another shape; a view where strides allow it."""

    def resize_(self, *size: typing.Any, memory_format: typing.Any = None) -> QTensor: ...
    def round(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def set_(
        self, source: QTensor, storage_offset: _int = 0, size: typing.Any = None, stride: typing.Any = None
    ) -> QTensor: ...
    def size(self, dim: typing.SupportsInt | typing.SupportsIndex | None = None) -> typing.Any:
        """All sizes, or the size of one axis."""

    def softmax(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def sqrt(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def stride(self, dim: typing.SupportsInt | typing.SupportsIndex | None = None) -> typing.Any:
        """All strides in elements, or that of one axis."""

    def sub(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def sub_(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def sum(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def to(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def tolist(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def transpose(
        self, dim0: typing.SupportsInt | typing.SupportsIndex, dim1: typing.SupportsInt | typing.SupportsIndex
    ) -> QTensor:
        """Two axes exchanged; a view."""

    def view(self, *args: typing.Any) -> QTensor:
        """The same codes in another shape, without a copy; ValueError where strides do not allow it."""

    def where(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    def zero_(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any: ...
    @property
    def dtype(self) -> typing.Any:
        """Element type."""

    @property
    def is_quantized(self) -> _bool:
        """True."""

    @property
    def ndim(self) -> _int:
        """Number of axes."""

    @property
    def qparams(self) -> QParams:
        """Scale, zero point, axis."""

    @property
    def requires_grad(self) -> typing.Any: ...
    @requires_grad.setter
    def requires_grad(self, value: _bool) -> None: ...
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

class PackedConv:
    """A convolution's weight made ready for the kernels: [O, C / groups, k...], or [C, O / groups, k...] when transposed; 1 to 3 spatial axes."""

    @staticmethod
    def transposed(
        weight: QTensor,
        bias: typing.Any,
        stride: typing.Any,
        padding: typing.Any,
        output_padding: typing.Any,
        dilation: typing.Any,
        groups: typing.SupportsInt | typing.SupportsIndex,
    ) -> PackedConv:
        """The weight of a transposed convolution."""

    def __init__(
        self,
        weight: QTensor,
        bias: typing.Any,
        stride: typing.Any,
        padding: typing.Any,
        dilation: typing.Any,
        groups: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def algorithm(self, input_shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> str:
        """Which algorithm a dense convolution of this input takes now: direct, winograd2 or winograd4, the latter as winograd4/2 where the input channels are summed in two parts."""

    @property
    def bias(self) -> typing.Any:
        """The float32 bias, or None."""

    @property
    def dilation(self) -> list[_int]:
        """One value per spatial axis."""

    @property
    def groups(self) -> _int:
        """Number of groups."""

    @property
    def is_transposed(self) -> _bool:
        """Whether this is a transposed convolution."""

    @property
    def output_padding(self) -> list[_int]:
        """One value per spatial axis; empty unless transposed."""

    @property
    def padding(self) -> list[_int]:
        """One value per spatial axis."""

    @property
    def stride(self) -> list[_int]:
        """One value per spatial axis."""

    @property
    def weight(self) -> QTensor:
        """The quantized weight."""

class PackedInt4Linear:
    """A linear layer's 4-bit group-wise weight [N, K] made ready for the kernels."""

    def __init__(
        self,
        weight: typing.Any,
        in_features: typing.SupportsInt | typing.SupportsIndex,
        group_size: typing.SupportsInt | typing.SupportsIndex,
        scales: typing.Any,
        zero_points: typing.Any = None,
        bias: typing.Any = None,
    ) -> None:
        """Pack codes that come two to a byte.

        Parameters
        ----------
        weight : ndarray of uint8, shape [N, (K + 1) / 2]
            Two's complement, the even k in the lower half of a byte.
        in_features : int
            K.
        group_size : int
            32, 64 or 128; the last group of K may be shorter.
        scales : ndarray of float32, shape [N, groups]
        zero_points : ndarray of int8, shape [N, groups], optional
            Codes; all 0 when not given.
        bias : ndarray of float32, shape [N], optional"""

    @property
    def bias(self) -> typing.Any:
        """A copy of the float32 bias, or None."""

    @property
    def group_size(self) -> _int:
        """How many K share a scale."""

    @property
    def in_features(self) -> _int:
        """K."""

    @property
    def out_features(self) -> _int:
        """N."""

    @property
    def scales(self) -> typing.Any:
        """A copy of the scales [N, groups]."""

    @property
    def weight(self) -> typing.Any:
        """A copy of the codes, two to a byte."""

    @property
    def zero_points(self) -> typing.Any:
        """A copy of the zero points [N, groups], or None."""

class PackedWeightOnly:
    """A linear layer's 8-bit weight [N, K] made ready for float activations."""

    def __init__(self, weight: QTensor, bias: typing.Any) -> None: ...
    @property
    def bias(self) -> typing.Any:
        """A copy of the float32 bias, or None."""

    @property
    def weight(self) -> QTensor:
        """The quantized weight."""

class PackedFloat:
    """A float32 weight [N, K] made ready for the kernels."""

    def __init__(self, weight: np.ndarray, bias: typing.Any = None) -> None: ...

class Program:
    """A network as one planned list of steps; ``octensor.compile`` makes them.

    Built by adding inputs, constants and steps, each of which gives the number of a value, and naming the outputs."""

    def __init__(self) -> None: ...
    def adaptive_avg_pool(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        output_size: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex | None],
    ) -> _int: ...
    def add(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        qparams: QParams,
        relu: _bool = False,
    ) -> _int: ...
    def add_constant(self, value: typing.Any) -> _int:
        """A tensor that is the same in every call; it must not change."""

    def add_input(
        self, name: str, like: typing.Any, sizes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
    ) -> _int:
        """An input with the dtype (and parameters) of `like`; sizes of -1 are free."""

    def avg_pool(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        kernel_size: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        stride: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        padding: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        ceil_mode: _bool,
        count_include_pad: _bool,
        divisor_override: typing.SupportsInt | typing.SupportsIndex | None,
    ) -> _int: ...
    def cast(
        self, inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], path: str, dtype: str
    ) -> _int: ...
    def cat(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        dim: typing.SupportsInt | typing.SupportsIndex,
        qparams: QParams,
    ) -> _int: ...
    def code_norm(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        eps: typing.SupportsFloat | typing.SupportsIndex,
        row: typing.SupportsInt | typing.SupportsIndex,
        groups: typing.SupportsInt | typing.SupportsIndex,
        run: typing.SupportsInt | typing.SupportsIndex,
        weight: typing.Any,
        bias: typing.Any,
    ) -> _int: ...
    def contiguous(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        channels_last: _bool = False,
    ) -> _int: ...
    def conv(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        packed: PackedConv,
        qparams: QParams,
        relu: _bool = False,
    ) -> _int: ...
    def cut(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        index: collections.abc.Sequence,
    ) -> _int: ...
    def dequantize(
        self, inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], path: str
    ) -> _int: ...
    def describe(self, inputs: collections.abc.Sequence) -> list:
        """What the steps are for inputs of these shapes, one dict each."""

    def dynamic_quantize(
        self, inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], path: str
    ) -> list[_int]: ...
    def embedding(
        self, inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], path: str
    ) -> _int: ...
    def expand(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        sizes: collections.abc.Sequence[
            tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]
        ],
    ) -> _int: ...
    def extreme(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        axes: typing.SupportsInt | typing.SupportsIndex,
        largest: _bool,
    ) -> _int: ...
    def float_adaptive_avg_pool(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        output_size: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex | None],
    ) -> _int: ...
    def float_add(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        relu: _bool = False,
    ) -> _int: ...
    def float_avg_pool(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        kernel_size: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        stride: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        padding: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        ceil_mode: _bool,
        count_include_pad: _bool,
        divisor_override: typing.SupportsInt | typing.SupportsIndex | None,
    ) -> _int: ...
    def float_conv(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        weight: np.ndarray,
        bias: typing.Any,
        stride: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        padding: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        dilation: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        groups: typing.SupportsInt | typing.SupportsIndex,
        output_padding: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None = None,
        relu: _bool = False,
    ) -> _int: ...
    def float_div(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        relu: _bool = False,
    ) -> _int: ...
    def float_linear(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        weight: np.ndarray,
        bias: typing.Any,
        relu: _bool = False,
    ) -> _int: ...
    def float_matmul(
        self, inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], path: str
    ) -> _int: ...
    def float_max_pool(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        kernel_size: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        stride: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        padding: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        dilation: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        ceil_mode: _bool,
    ) -> _int: ...
    def float_mul(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        relu: _bool = False,
    ) -> _int: ...
    def float_norm(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        eps: typing.SupportsFloat | typing.SupportsIndex,
        row: typing.SupportsInt | typing.SupportsIndex,
        groups: typing.SupportsInt | typing.SupportsIndex,
        run: typing.SupportsInt | typing.SupportsIndex,
        weight: typing.Any,
        bias: typing.Any,
    ) -> _int: ...
    def float_power(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        exponent: typing.SupportsFloat | typing.SupportsIndex,
    ) -> _int: ...
    def float_response_norm(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        size: typing.SupportsInt | typing.SupportsIndex,
        alpha: typing.SupportsFloat | typing.SupportsIndex,
        beta: typing.SupportsFloat | typing.SupportsIndex,
        bias: typing.SupportsFloat | typing.SupportsIndex,
    ) -> _int: ...
    def float_softmax(
        self, inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], path: str, log: _bool = False
    ) -> _int: ...
    def float_sub(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        relu: _bool = False,
    ) -> _int: ...
    def float_sum(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        axes: typing.SupportsInt | typing.SupportsIndex,
        mean: _bool = False,
    ) -> _int: ...
    def float_unary(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        name: str,
        a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    ) -> _int: ...
    def gather_nd(
        self, inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], path: str
    ) -> _int: ...
    def linear(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        packed: PackedLinear,
        qparams: QParams,
        relu: _bool = False,
    ) -> _int: ...
    def linear_dynamic(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        packed: PackedLinear,
        reduce_range: _bool = False,
        relu: _bool = False,
        per_row: _bool = False,
    ) -> _int: ...
    def linear_int4(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        packed: PackedInt4Linear,
        relu: _bool = False,
    ) -> _int: ...
    @typing.overload
    def linear_weight_only(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        packed: PackedWeightOnly,
        relu: _bool = False,
    ) -> _int: ...
    @typing.overload
    def linear_weight_only(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        packed: PackedInt4Linear,
        relu: _bool = False,
    ) -> _int: ...
    def lookup(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        table: typing.Annotated[typing.Any, np.uint8],
        qparams: QParams,
    ) -> _int: ...
    def lookup_channels(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        tables: typing.Annotated[typing.Any, np.uint8],
        qparams: QParams,
    ) -> _int: ...
    def matmul_integer(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        a_zeros: _bool,
        b_zeros: _bool,
    ) -> _int: ...
    def max_pool(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        kernel_size: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        stride: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        padding: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        dilation: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        ceil_mode: _bool,
    ) -> _int: ...
    def memory(self, inputs: collections.abc.Sequence) -> dict:
        """Bytes of the arena, of its largest live set, and of the weights."""

    def mul(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        qparams: QParams,
        relu: _bool = False,
    ) -> _int: ...
    def pair(
        self, inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], path: str, name: str
    ) -> _int: ...
    def permute(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        dims: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ) -> _int: ...
    def pick(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        axes: collections.abc.Sequence,
        fill: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    ) -> _int: ...
    def place(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        largest: _bool,
        last: _bool,
    ) -> _int: ...
    def quantize(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        qparams: QParams,
        channels_last: _bool,
    ) -> _int: ...
    def range(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        start: tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex],
        stop: tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex],
        by: typing.SupportsInt | typing.SupportsIndex,
    ) -> _int: ...
    def recurrent(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        kernel: str,
        w_ih: PackedLinear,
        w_hh: PackedLinear,
        sizes: collections.abc.Sequence[
            tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]
        ],
        backward: _bool = False,
        reduce_range: _bool = False,
    ) -> list[_int]: ...
    def requantize(
        self, inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], path: str, qparams: QParams
    ) -> _int: ...
    def resample(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        axes: collections.abc.Sequence[
            tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex]
        ],
        align_corners: _bool,
    ) -> _int: ...
    def reshape(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        sizes: collections.abc.Sequence[
            tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]
        ],
    ) -> _int: ...
    def run(self, inputs: collections.abc.Sequence) -> list:
        """Run all steps; any number of threads may."""

    def run_timed(self, inputs: collections.abc.Sequence) -> list[_float]:
        """Run all steps and return the seconds that each took."""

    def running_sums(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        dim: typing.SupportsInt | typing.SupportsIndex,
    ) -> _int: ...
    def select(
        self, inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], path: str
    ) -> _int: ...
    def set_batch_axis(self, axis: typing.SupportsInt | typing.SupportsIndex) -> None:
        """Which axis of the first input the batch is."""

    def set_outputs(self, values: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> None:
        """Name the values that a call returns."""

    def sorted(
        self, inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], path: str, descending: _bool
    ) -> _int: ...
    def take(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        dim: typing.SupportsInt | typing.SupportsIndex,
    ) -> _int: ...
    def take_along(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        dim: typing.SupportsInt | typing.SupportsIndex,
    ) -> _int: ...
    def unary(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        name: str,
        a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
        b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    ) -> _int: ...
    def whole_sum(
        self,
        inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        path: str,
        axes: typing.SupportsInt | typing.SupportsIndex,
    ) -> _int: ...
    def with_qparams(
        self, inputs: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], path: str, qparams: QParams
    ) -> _int: ...

def _rebuild_qtensor(
    data: typing.Any,
    shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    channels_last: bool,
    qparams: QParams,
) -> QTensor:
    """Inverse of pickling."""

def adaptive_avg_pool(
    input: QTensor, output_size: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex | None]
) -> QTensor:
    """Mean over windows that cut 1 to 3 spatial axes into output_size parts; None keeps a size."""

def add(a: QTensor, b: QTensor, qparams: QParams, relu: bool = False) -> QTensor:
    """``quantize(dequantize(a) + dequantize(b))``, shapes broadcast; with relu the result is at least real 0."""

def avg_pool(
    input: QTensor,
    kernel_size: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    stride: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    padding: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: typing.SupportsInt | typing.SupportsIndex | None,
) -> QTensor:
    """``round_half_even(sum(q - z) / divisor) + z`` of each window, over 1 to 3 spatial axes; same parameters."""

def cat(
    tensors: collections.abc.Sequence[QTensor], dim: typing.SupportsInt | typing.SupportsIndex, qparams: QParams
) -> QTensor:
    """Tensors joined along an axis, each requantized to the result's parameters."""

def choose_qparams(
    lo: typing.SupportsFloat | typing.SupportsIndex,
    hi: typing.SupportsFloat | typing.SupportsIndex,
    dtype: dtype,
    reduce_range: bool = False,
) -> QParams:
    """Parameters of an 8-bit dtype for values in [lo, hi], as dynamic quantization chooses them."""

def conv(input: QTensor, packed: PackedConv, qparams: QParams, relu: bool = False) -> QTensor:
    """Convolution of ``x [N, C, ...]``, requantized; padding is real 0. The result is channels-last."""

def cpu_features() -> dict:
    """What this CPU has and this operating system saves, by the names of /proc/cpuinfo."""

def dequantize(input: QTensor) -> np.ndarray:
    """``(q - zero_point) * scale`` as a float32 array."""

def exp(input: np.ndarray) -> np.ndarray:
    """exp of float32 numbers, the same bits on every CPU."""

def float_adaptive_avg_pool(
    input: np.ndarray, output_size: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]
) -> np.ndarray:
    """Means over windows that cut the spatial axes into output_size parts."""

def float_avg_pool(
    input: np.ndarray,
    kernel_size: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    stride: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    padding: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: typing.SupportsInt | typing.SupportsIndex | None,
) -> np.ndarray:
    """The mean of each window."""

def float_conv(
    input: np.ndarray,
    weight: np.ndarray,
    bias: typing.Any,
    stride: typing.Any,
    padding: typing.Any,
    dilation: typing.Any,
    groups: typing.SupportsInt | typing.SupportsIndex,
    output_padding: typing.Any = None,
    relu: bool = False,
) -> np.ndarray:
    """Convolution of float32 ``input [N, C, ...]``, transposed where output_padding is given. The result is channels-last."""

def float_extreme(input: np.ndarray, largest: bool) -> np.ndarray:
    """The largest or smallest values along the last axis."""

@typing.overload
def float_linear(input: np.ndarray, packed: PackedFloat, relu: bool = False) -> np.ndarray:
    """``input [..., K]`` times the packed weight transposed, plus its bias."""

@typing.overload
def float_linear(input: np.ndarray, weight: np.ndarray, bias: typing.Any = None, relu: bool = False) -> np.ndarray:
    """``input [..., K]`` times the float32 weight [N, K] transposed, plus bias."""

def float_matmul(input: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``[..., M, K]`` times ``[..., K, N]`` or ``[K, N]``."""

def float_max_pool(
    input: np.ndarray,
    kernel_size: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    stride: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    padding: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    dilation: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ceil_mode: bool,
) -> np.ndarray:
    """The largest value of each window."""

def float_norm(
    input: np.ndarray,
    weight: typing.Any,
    bias: typing.Any,
    eps: typing.SupportsFloat | typing.SupportsIndex,
    centre: bool = True,
    groups: typing.SupportsInt | typing.SupportsIndex = 1,
    run: typing.SupportsInt | typing.SupportsIndex = 1,
) -> np.ndarray:
    """Layer norm of the last axis (rms norm without centre); group norm with groups, and run elements per channel."""

def float_pair(name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A function of two broadcast arrays: maximum, minimum or prelu."""

def float_power(input: np.ndarray, exponent: typing.SupportsFloat | typing.SupportsIndex) -> np.ndarray:
    """Each value to the power of a number."""

def float_resample(
    input: np.ndarray,
    axes: collections.abc.Sequence[
        tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex]
    ],
    align_corners: bool,
) -> np.ndarray:
    """Linear interpolation of the spatial axes, each given as (size, ratio)."""

def float_response_norm(
    input: np.ndarray,
    size: typing.SupportsInt | typing.SupportsIndex,
    alpha: typing.SupportsFloat | typing.SupportsIndex,
    beta: typing.SupportsFloat | typing.SupportsIndex,
    bias: typing.SupportsFloat | typing.SupportsIndex,
) -> np.ndarray:
    """Local response normalisation of ``[N, C, ...]``."""

def float_softmax(input: np.ndarray, log: bool = False) -> np.ndarray:
    """Softmax along the last axis, or its logarithm."""

def float_sum(input: np.ndarray, divisor: typing.SupportsFloat | typing.SupportsIndex = 1.0) -> np.ndarray:
    """Sums over the last axis, divided."""

def float_unary(
    name: str,
    input: np.ndarray,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> np.ndarray:
    """A function of kernels/float_elementwise.h, element by element, with its parameters."""

def get_isa() -> str:
    """The instruction set whose kernels run."""

def get_num_threads() -> int:
    """How many threads one op may use."""

def isa_list() -> list[tuple[str, bool]]:
    """The instruction sets of this build, best first, each with whether this CPU supports it."""

def isa_missing(name: str) -> list[str]:
    """The features that an instruction set needs and that are not there."""

def kernel_forms() -> list[tuple[str, str]]:
    """How the kernels that run multiply: the size of a step and the type of activations, by kernel."""

def linear(input: QTensor, packed: PackedLinear, qparams: QParams, relu: bool = False) -> QTensor:
    """``x [..., K]`` times the weight transposed, plus bias, requantized; see docs/numerics.md."""

def linear_dynamic(
    input: np.ndarray, packed: PackedLinear, reduce_range: bool = False, relu: bool = False, per_row: bool = False
) -> np.ndarray:
    """A linear layer on float32 input, quantized on the fly.

    The whole input, or with per_row each row of K values, is quantized to quint8 with the parameters that
    :func:`choose_qparams` gives for its range; the result is ``float32(sum) * float32(s_x * s_w[c]) + bias[c]``.

    Raises
    ------
    ValueError
        Where the input holds NaN or an infinity, or shapes do not fit."""

def linear_int4(input: np.ndarray, packed: PackedInt4Linear, relu: bool = False) -> np.ndarray:
    """A linear layer with 4-bit weights on float32 input, each row of which is quantized to 8 bits on the fly.

    The result is ``sum over groups of float32(exact sum) * scale[n, group]``, in order, ``* s_row + bias[n]``; see
    docs/numerics.md.

    Raises
    ------
    ValueError
        Where the input holds NaN or an infinity, or shapes do not fit."""

@typing.overload
def linear_weight_only(input: np.ndarray, packed: PackedWeightOnly, relu: bool = False) -> np.ndarray:
    """A linear layer on float32 input with the real values of its quantized weight, summed in one order of operations (docs/numerics.md)."""

@typing.overload
def linear_weight_only(input: np.ndarray, packed: PackedInt4Linear, relu: bool = False) -> np.ndarray:
    """A linear layer on float32 input with the real values of its quantized weight, summed in one order of operations (docs/numerics.md)."""

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

def max_pool(
    input: QTensor,
    kernel_size: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    stride: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    padding: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    dilation: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    ceil_mode: bool,
) -> QTensor:
    """Largest code of each window, over 1 to 3 spatial axes; same parameters."""

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

def recurrent(
    cell: str,
    input: np.ndarray,
    sizes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    state: collections.abc.Sequence[np.ndarray],
    w_ih: PackedLinear,
    w_hh: PackedLinear,
    backward: bool = False,
    reduce_range: bool = False,
    out: typing.Any = None,
) -> tuple:
    """A recurrent layer in one direction over whole sequences: the state of each after its last step.

    The whole input is quantized with one range, the hidden state of each step with its own, as linear_dynamic does.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn_tanh", "rnn_relu"}
    input : ndarray of float32, shape [rows, K]
        The rows of time 0, then those of time 1, ...
    sizes : list of int
        The number of rows at each time, never more than the time before.
    state : tuple of ndarrays, shape [sizes[0], H]
        (h, c) for an LSTM, (h,) for the others.
    w_ih, w_hh : PackedLinear
        With gates * H rows.
    backward : bool
        Whether to go from the last time to the first.
    out : ndarray of float32, shape [rows, H], optional
        Receives h after each step; its rows may be apart."""

def recurrent_step(cell: str, gi: np.ndarray, gh: np.ndarray, state: collections.abc.Sequence[np.ndarray]) -> tuple:
    """One step of a recurrent cell: the state after it.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn_tanh", "rnn_relu"}
    gi, gh : ndarray of float32, shape [N, gates * H]
        The input's and the hidden state's parts of the gates (i, f, g, o; r, z, n), before their nonlinearity.
    state : tuple of ndarrays, shape [N, H]
        (h, c) for an LSTM, (h,) for the others."""

def release_memory() -> None:
    """Give memory that is kept for the next results, and that nobody uses now, back to the system."""

def requantize(input: QTensor, qparams: QParams) -> QTensor:
    """Dequantize, then quantize with other parameters."""

def set_conv_algorithm(name: str) -> None:
    """Prefer direct, winograd2 or winograd4 wherever it applies and is exact; auto chooses by shape. For tests and measurements: results do not depend on it."""

def set_isa(name: str) -> None:
    """Choose the instruction set whose kernels run, for the whole process. Results do not depend on it."""

def set_num_threads(n: typing.SupportsInt | typing.SupportsIndex) -> None:
    """Set how many threads one op may use (1 to 1024). Results do not depend on it."""

def sigmoid(input: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) of float32 numbers, the same bits on every CPU."""

def tanh(input: np.ndarray) -> np.ndarray:
    """tanh of float32 numbers, the same bits on every CPU."""

__version__: str = "0.1.0"
qint32: dtype
qint8: dtype
quint4x2: dtype
quint8: dtype
_DType = dtype
_QScheme = qscheme
_bool = bool
_int = int
_float = float
