"""`octensor.backends.quantized.engine`: PyTorch's engine names, as the choice of default qconfigs.

In PyTorch the engine decides how numbers are rounded and which layers run at all. Here there is one arithmetic and it
does not change: setting the engine is accepted, so that code written for PyTorch runs, and has no effect on results.
Which default qconfig is meant is said by name, `quantization.get_default_qconfig(engine)`, which takes the same names
("none" excepted, PyTorch's name for having no engine: quantized models run under it like under any other).
"""

from __future__ import annotations

import sys
from types import ModuleType

_ENGINES = ("x86", "fbgemm", "onednn", "qnnpack", "arm", "none")


class _QuantizedBackend(ModuleType):
    """The module's own type: gives it the property `engine`."""

    _engine = _ENGINES[0]

    @property
    def engine(self) -> str:
        """The name last chosen."""
        return self._engine

    @engine.setter
    def engine(self, name: str) -> None:
        if name not in _ENGINES:
            raise ValueError(f"engine: expected one of {', '.join(_ENGINES)}, got {name!r}")
        self._engine = name

    @property
    def supported_engines(self) -> list[str]:
        """The names that `engine` takes."""
        return list(_ENGINES)


sys.modules[__name__].__class__ = _QuantizedBackend
