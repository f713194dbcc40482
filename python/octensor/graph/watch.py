"""What a recorder sees besides ops: methods of QTensor made in C++, and writes. Patched only while recording."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from .._C import QTensor
from ..inplace import InPlace
from ..ops.exact import INT_REPR
from .recorder import Recorder

_VIEWS = ("reshape", "view", "flatten", "permute", "transpose", "clone", "contiguous")
_lock = threading.RLock()


@contextmanager
def watched(recorder: Recorder) -> Iterator[None]:
    """While this is open the recorder hears of views and writes; one recorder at a time in a process."""
    with _lock:
        originals: list[tuple[type, str, Any]] = []

        def replace(cls: type, name: str, make: Callable[[Any], Any]) -> None:
            original = getattr(cls, name)
            originals.append((cls, name, original))
            setattr(cls, name, make(original))

        for name in _VIEWS:
            replace(QTensor, name, partial(_viewing, recorder, name))
        replace(QTensor, "int_repr", partial(_codes, recorder))
        replace(QTensor, "_writable", partial(_writing, recorder))
        replace(InPlace, "_writable", partial(_writing, recorder))
        try:
            yield
        finally:
            for cls, name, original in originals:
                setattr(cls, name, original)


def _viewing(recorder: Recorder, name: str, original: Any) -> Any:
    def method(self: QTensor, *args: Any, **kwargs: Any) -> Any:
        return recorder.view(name, self, args, kwargs, original(self, *args, **kwargs))

    return method


def _codes(recorder: Recorder, original: Any) -> Any:
    def method(self: QTensor) -> Any:
        return recorder.note(INT_REPR, (self,), {}, original(self))

    return method


def _writing(recorder: Recorder, original: Any) -> Any:
    def method(self: Any, *args: Any) -> Any:
        recorder.written(self)
        return original(self, *args)

    return method
