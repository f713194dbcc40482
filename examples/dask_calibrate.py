"""Calibrate on several Dask workers, merge the observers, and get what one process gets, bit for bit.

pip install octensor scikit-learn dask
python examples/dask_calibrate.py
"""

from __future__ import annotations

import copy
import sys

import dask
import digits
import numpy as np

from octensor import nn
from octensor import quantization as tq


def observe(prepared: nn.Module, images: np.ndarray) -> nn.Module:
    """Run a worker's share of the data through its copy of the prepared model, and send that back."""
    return tq.calibrate(copy.deepcopy(prepared), images)


def calibrate_on_workers(prepared: nn.Module, images: np.ndarray, shards: int, scheduler: str) -> nn.Module:
    """Return the prepared model with the observers of all workers merged."""
    tasks = [dask.delayed(observe)(prepared, shard) for shard in np.array_split(images, shards)]
    parts = dask.compute(*tasks, scheduler=scheduler)
    return tq.merge_observers_(copy.deepcopy(prepared), *parts)


def qparams(model: nn.Module) -> dict[str, tuple]:
    """Scale and zero point (and the weight's codes) of every layer of a converted model."""
    state = model.state_dict()
    return {key: np.asarray(value.int_repr() if hasattr(value, "int_repr") else value) for key, value in state.items()}


def main(epochs: int = 3, shards: int = 8, scheduler: str = "processes") -> bool:
    x, y, x_test, y_test = digits.load()
    model = digits.train(digits.DigitsNet(), x, y, epochs)
    model = tq.fuse_modules(model, digits.DigitsNet.FUSE)
    model.qconfig = tq.get_default_qconfig()
    prepared = tq.prepare(model)

    alone = tq.convert(tq.calibrate(copy.deepcopy(prepared), x))
    together = tq.convert(calibrate_on_workers(prepared, x, shards, scheduler))

    ours, theirs = qparams(alone), qparams(together)
    same = ours.keys() == theirs.keys() and all(np.array_equal(ours[key], theirs[key]) for key in ours)
    print(f"{shards} shards on Dask's {scheduler}, merged: {len(ours)} arrays, {'all equal' if same else 'DIFFERENT'}")
    print(
        f"accuracy {digits.accuracy(together, x_test, y_test):.2%} (float {digits.accuracy(model, x_test, y_test):.2%})"
    )
    return same


if __name__ == "__main__":
    sys.exit(not main())
