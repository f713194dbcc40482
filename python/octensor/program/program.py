"""`Program`: a compiled model, to be called like the model; `compile` makes one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _C
from .._C import QTensor
from ..graph.graph_module import GraphModule
from ..graph.immutable import map_aggregate
from ..graph.node import Node
from ..graph.record import record
from ..mapped import release_pages
from ..nn.module import Module
from ..ops.packing import sharing
from ..tensor import Tensor
from . import rows as rows
from .batch import BoundToBatch, generalize
from .fuse import fuse
from .ir import Draft, Value, is_plain, plain_array, plain_codes
from .lower import CompileError, lower
from .settled import is_settled, shapes_noted, sizes_of
from .text import program_text

if TYPE_CHECKING:
    from .profile import Profile


class Program:
    """A model as one planned list of steps, run without Python and without allocation.

    Made by `octensor.compile`. Any number of threads may call it at the same time; each call has memory of its own,
    kept for the next one. The first call with a batch size of its own makes a plan for it.

    Attributes
    ----------
    batch_bound : str or None
        Why the program takes the batch of the example alone, if it does.
    """

    def __init__(
        self, draft: Draft, result: Any, example: tuple[Any, ...], bound: str | None, axis: int | None
    ) -> None:
        self.batch_bound = bound
        # Not the draft: it holds arrays that steps have in another form, and the results' values lead to it.
        self._inputs = draft.inputs
        self._result = map_aggregate(result, lambda part: Value(part.meta) if isinstance(part, Value) else part)
        self._single = isinstance(result, Value)
        self._example = example
        self._program = _C.Program()
        batch = None if axis is None or not example else int(example[0].shape[axis])
        self._batch = None if axis is None or batch is None else (axis, batch)
        numbers: dict[Value, int] = {}
        for (name, value), array in zip(draft.inputs, example, strict=True):
            sizes = list(value.meta.shape)
            if axis is not None and len(sizes) > axis and sizes[axis] == batch:
                sizes[axis] = -1
            numbers[value] = self._program.add_input(name, _plain(array), sizes)
        if axis is not None and example:
            self._program.set_batch_axis(axis)
        for instruction in draft.instructions:
            for value in instruction.inputs:
                self._constant(numbers, value)
            inputs = [numbers[value] for value in instruction.inputs]
            made = getattr(self._program, instruction.name)(inputs, instruction.path, **instruction.attrs)
            for value, number in zip(instruction.outputs, made if isinstance(made, list) else [made], strict=True):
                numbers[value] = number
        for value in draft.outputs:
            self._constant(numbers, value)
        self._program.set_outputs([numbers[value] for value in draft.outputs])

    def _constant(self, numbers: dict[Value, int], value: Value) -> None:
        if value not in numbers:
            numbers[value] = self._program.add_constant(value.constant)

    def __call__(self, *inputs: Any) -> Any:
        """Run the program.

        Parameters
        ----------
        *inputs : Tensor, ndarray or QTensor
            As the model takes them; the batch may differ from the example's unless `batch_bound` says otherwise.

        Returns
        -------
        As the model returns it: Tensors and QTensors, or a tuple, list or dict of them.

        Raises
        ------
        TypeError, ValueError
            If an input is missing, or has another dtype or shape; or as the model does, with the module's path.
        """
        results = self._program.run([_plain(x) for x in inputs])
        if self._single:
            value = _result(self._result, results[0])
            return Tensor._wrap(value) if type(value) is np.ndarray else value
        return _rebuilt(self._result, iter(results))

    run = __call__

    def memory(self, *inputs: Any) -> dict[str, int]:
        """Return bytes: `arena`, what a running call holds; `live`, its largest set of living values; `weights`.

        Without inputs, for the example's shapes.
        """
        return self._program.memory(self._arrays(inputs))

    def profile(self, *inputs: Any, repeat: int = 20) -> Profile:
        """Time every step.

        Parameters
        ----------
        *inputs : Tensor, ndarray or QTensor
            Without any, the example.
        repeat : int
            Runs; a step's time is its median.

        Returns
        -------
        Profile
            A table when printed; `chart(path)` draws it.
        """
        from .profile import measure

        return measure(self._program, self._arrays(inputs), repeat)

    def steps(self, *inputs: Any) -> list[dict[str, Any]]:
        """Return what runs, one dict per step: op, path, inputs, outputs, multiply_adds, bytes, in_place."""
        return list(self._program.describe(self._arrays(inputs)))

    def _arrays(self, inputs: tuple[Any, ...]) -> list[Any]:
        return [_plain(x) for x in inputs or self._example]

    def __repr__(self) -> str:
        return program_text(self)


def compile(model: Any, example_inputs: Any, *, batch_axis: int | None = 0) -> Program:
    """Return a converted model as a program: one flat plan that runs without Python.

    The model runs on the example inputs, once as they are and once with one sample more, and what ran is what the
    program does, to the byte. Layers of every stage may be mixed: static, dynamic, weight-only and float.

    Parameters
    ----------
    model : Module or callable
        In eval mode; best after `quantization.convert`.
    example_inputs : tuple, or one tensor
        Tensors of the shapes and dtypes that the program is to take. All sizes but the batch are then fixed.
    batch_axis : int, optional
        Along which axis the inputs hold samples; None for a program that takes the example's shapes alone.

    Returns
    -------
    Program

    Raises
    ------
    CompileError
        If the model holds operations that programs have no steps for; all are listed, with what to do.
    TraceError
        If something that the model computes from its inputs would become a constant.

    Examples
    --------
    >>> import octensor as ot
    >>> import octensor.quantization as tq
    >>> model = tq.quantize_dynamic(ot.nn.Sequential(ot.nn.Linear(3, 2)))
    >>> program = ot.compile(model, ot.ones(4, 3))
    >>> bool((program(ot.ones(5, 3)) == model(ot.ones(5, 3))).all())
    True
    """
    example = tuple(example_inputs) if isinstance(example_inputs, (tuple, list)) else (example_inputs,)
    for i, value in enumerate(example):
        if not isinstance(value, (Tensor, QTensor, np.ndarray)):
            raise TypeError(f"compile: example_inputs[{i}]: expected a tensor, got {type(value).__name__}")
    try:
        program = _compiled(model, example, batch_axis)
        program(*example)  # packs what it needs, now and not in the first call
    finally:
        release_pages()
        _C.release_memory()
    return program


def _compiled(model: Any, example: tuple[Any, ...], axis: int | None) -> Program:
    with sharing(_packed_in(model)):
        if axis in (None, 0) and is_settled(model, example):
            with shapes_noted(model, example):
                return _lowered(model, example, axis, partial(sizes_of, model), sizes_of(model, example))
        module = record(model, example)

        def follow() -> dict[Node, Any]:
            assert axis is not None  # else nobody asks
            return generalize(module, model, example, axis, example[0].shape[axis])

        return _lowered(module, example, axis, follow, {})


def _lowered(
    module: GraphModule, example: tuple[Any, ...], axis: int | None, follow: Callable[[], Any], fixed: dict[Node, Any]
) -> Program:
    """Make the program with sizes as `follow` gives them; where they do not follow the batch, as `fixed` has them."""
    bound = "batch_axis is None" if axis is None else _no_batch(example, axis)
    if bound is None:
        try:
            draft, result = lower(module, follow())
        except BoundToBatch as why:
            bound = str(why)
    if bound is not None:
        draft, result = lower(module, fixed)
    fuse(draft)
    return Program(draft, result, example, bound, None if bound else axis)


def _no_batch(example: tuple[Any, ...], axis: int) -> str | None:
    if example and len(example[0].shape) > axis and example[0].shape[axis]:
        return None
    return "the first example input has no samples along the batch axis"


def _packed_in(model: Any) -> list[Any]:
    """Return what the layers of a model have packed already."""
    found: list[Any] = []
    for module in model.modules() if isinstance(model, Module) else ():
        cache = module.__dict__.get("_cache")
        found += cache.values() if isinstance(cache, dict) else [cache]
    return found


def _plain(x: Any) -> Any:
    return plain_codes(x._array if isinstance(x, Tensor) else x)


def _result(value: Value, result: Any) -> Any:
    return result if value.qparams is None or not is_plain(value.qparams) else plain_array(result)


def _rebuilt(tree: Any, results: Any) -> Any:
    def result(part: Any) -> Any:
        if not isinstance(part, Value):
            return part
        value = _result(part, next(results))
        return Tensor._wrap(value) if isinstance(value, np.ndarray) else value

    return map_aggregate(tree, result, frozen=False)


__all__ = ["CompileError", "Program", "compile"]
