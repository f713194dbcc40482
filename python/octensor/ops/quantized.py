"""`octensor.ops.quantized`: ops by the names of PyTorch's operator library, to build a quantized computation by hand.

Where a result has a scale and zero point of its own the caller gives them, and its dtype is that of the first tensor.
Packed weights come from the `_prepack` functions. The layers end in the same kernels.

* `arithmetic`: add, mul, cat, and their forms with a number, a ReLU, or a tensor whose parameters the result takes;
* `unary`: activations, norms and pools;
* `packed`: linear layers and convolutions;
* `low_bits`: linear layers with 4-bit weights, and with quantized weights on float activations;
* `rows`: tables of embedding rows;
* `cells`: recurrent cells and layers.
"""

from __future__ import annotations

from .library.arithmetic import *  # noqa: F403
from .library.arithmetic import __all__ as _arithmetic
from .library.cells import *  # noqa: F403
from .library.cells import __all__ as _cells
from .library.low_bits import *  # noqa: F403
from .library.low_bits import __all__ as _low_bits
from .library.packed import *  # noqa: F403
from .library.packed import __all__ as _packed
from .library.rows import *  # noqa: F403
from .library.rows import __all__ as _rows
from .library.unary import *  # noqa: F403
from .library.unary import __all__ as _unary

__all__ = [*_arithmetic, *_unary, *_packed, *_low_bits, *_rows, *_cells]
