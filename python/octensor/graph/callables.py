"""What the nodes of a saved model may call, by the names that stand in files, and with which arguments.

An op's name is looked up here and nowhere else. Most are ops (`OPS`, `EXACT`); besides there are the functions that a
recorder takes as one step (`CALLABLES`). Arguments are checked before anything runs: NumPy's own functions, which are
the float form of some ops, would take an array to write into, so that a file could change its reader's tensors.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import numpy as np

from ..ops import integer_products as integer_products  # fills the table
from ..ops.embedding import embedding_bag
from ..ops.exact import EXACT
from ..ops.moving import order
from ..ops.reduce import _place, argmax, argmin
from ..ops.spec import OPS, OpSpec
from ..tensor import Tensor

_METHODS = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__invert__", "any", "all", "to")

CALLABLES: dict[str, Callable[..., Any]] = {
    "call.item": operator.getitem,
    "call.embedding_bag": embedding_bag,
    "call.order": order,
    "call.argmax": argmax,
    "call.argmin": argmin,
    "call.place": _place,
    **{f"call.{name.strip('_')}": vars(Tensor)[name] for name in _METHODS},
}
NAMES = {function: name for name, function in CALLABLES.items()}
#: Functions that stand among the arguments.
ARGUMENTS: dict[str, Callable[..., Any]] = {"argmax": np.argmax, "argmin": np.argmin}
ARGUMENT_NAMES = {function: name for name, function in ARGUMENTS.items()}


def find(name: Any) -> Callable[..., Any] | None:
    """Return what a name of a file stands for; None if nothing has it."""
    if not isinstance(name, str):
        return None
    return OPS.get(name) or EXACT.get(name) or CALLABLES.get(name)


def name_of(target: Any) -> str | None:
    """Return the name under which a node's target stands in files; None if it cannot stand there."""
    if isinstance(target, OpSpec):
        return target.name if find(target.name) is target else None
    return NAMES.get(target) if callable(target) else None


def check_call(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Check that a target takes so many arguments of these names.

    Raises
    ------
    ValueError
        If it does not; the message says what it takes.
    """
    if not isinstance(target, OpSpec):
        try:
            # What `getitem` takes, its signature does not say in every Python.
            signature = None if target is operator.getitem else inspect.signature(target)
            if signature is None and (len(args) != 2 or kwargs):
                raise TypeError("expected 2 arguments")
            if signature is not None:
                signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ValueError(f"its arguments do not fit: {error!s:.100}") from None
        return
    most, names = takes(target)
    least = min(1, most)
    if not least <= len(args) <= most:
        raise ValueError(f"expected {least} to {most} tensors, got {len(args)}")
    wrong = [name for name in kwargs if name not in names]
    if wrong:
        raise ValueError(f"expected attributes among {', '.join(sorted(names)) or 'none'}, got {wrong[0]!r:.80}")


class _Zeros:
    """A generator of zeros, for samples that nobody reads: NumPy's random numbers take 8 MB to import."""

    def __getattr__(self, name: str) -> Callable[..., np.ndarray]:
        return lambda *args, size=None, **_: np.zeros(args[-1] if size is None else size)


@cache
def takes(op: OpSpec) -> tuple[int, frozenset[str]]:
    """Return how many tensors an op takes at most, and the names of its attributes."""
    names: set[str] = set()
    most = 0
    for form in (op.forward, op.quantized):
        if form is None:
            continue
        form = inspect.unwrap(form)
        if isinstance(form, np.ufunc):
            most = max(most, form.nin)
            continue
        if (getattr(form, "__module__", None) or "numpy").partition(".")[0] == "numpy":
            most = max(most, 1)
            continue
        parameters = inspect.signature(form).parameters.values()
        places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        most = max(most, 1 << 20 if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(places))
        names.update(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            # The form hands them on; its samples have them all.
            names.update(key for _, attrs in op.samples(cast(Any, _Zeros())) for key in attrs)
    return most, frozenset(names)
