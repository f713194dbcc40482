"""Running data through a prepared model, so that its observers see it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import numpy as np

from octensor.autograd import no_grad
from octensor.nn.module import Module
from octensor.quantization.fake_quantize import FakeQuantizeBase
from octensor.quantization.prepare import _check_model, get_observers
from octensor.tensor import Tensor


def default_eval_fn(model: Module, calib_data: Iterable[tuple[Any, Any]]) -> None:
    """Run ``model(data)`` for every (data, target) pair, without recording gradients."""
    _check_model("default_eval_fn", model)
    with no_grad():
        for pair in calib_data:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise TypeError(
                    f"default_eval_fn: calib_data: expected (data, target) pairs, got {type(pair).__name__}"
                )
            model(pair[0])


def calibrate(model: Module, data: Any, batch_size: int = 64, progress: bool = False) -> Module:
    """Run calibration data through a prepared model.

    Parameters
    ----------
    model
        What `prepare` returned.
    data
        A `Tensor` or array, which is cut into batches along its first axis, or an iterable of batches: each a
        tensor, or a tuple or list of the model's arguments.
    batch_size
        Size of the batches cut.
    progress
        Show a progress bar (with `rich`, where that is installed; else a count) on standard error.

    Returns
    -------
    ``model``.

    Raises
    ------
    ValueError
        If the model holds no observers, or there is no batch.
    """
    _check_model("calibrate", model)
    if not get_observers(model):
        raise ValueError(
            f"calibrate: model: expected a prepared model, got one in the {model.stage} stage: "
            "call prepare(model) first"
        )
    if isinstance(data, (Tensor, np.ndarray)):
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"calibrate: batch_size: expected a positive integer, got {batch_size!r}")
        values = np.asarray(data)
        data = [values[i : i + batch_size] for i in range(0, len(values), batch_size)]
    elif not isinstance(data, Iterable):
        raise TypeError(f"calibrate: data: expected an array or an iterable of batches, got {type(data).__name__}")
    count = 0
    fakes = [m for m in model.modules() if isinstance(m, FakeQuantizeBase)]
    before = [m.observe_in_eval for m in fakes]
    try:
        for m in fakes:
            m.observe_in_eval = True
        with no_grad():
            for batch in _shown(data) if progress else data:
                model(*batch) if isinstance(batch, (tuple, list)) else model(batch)
                count += 1
    finally:
        for m, value in zip(fakes, before, strict=True):
            m.observe_in_eval = value
    if not count:
        raise ValueError("calibrate: data: expected at least one batch, got none")
    return model


def _shown(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield the batches and show how far it is."""
    total = len(batches) if isinstance(batches, Sized) else None
    try:
        from rich.console import Console
        from rich.progress import track
    except ImportError:
        for done, batch in enumerate(batches, 1):
            yield batch
            sys.stderr.write(f"\rcalibrating: {done}{'' if total is None else f'/{total}'}")
        sys.stderr.write("\n")
        return
    yield from track(batches, description="calibrating", total=total, console=Console(stderr=True))
