"""Who is measured. A peer is a class with a name, a version and the variants that can run a case.

Each peer lives in one file, imports its package only when it is made, and knows nothing of the others.
A new peer is a class here and a line in `PEERS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..cases import Case
from ..operands import Data


@dataclass(frozen=True)
class Runner:
    """A case ready to run.

    Attributes
    ----------
    call : callable
        Runs it once; what is timed.
    output : callable or None
        Its result as an array: codes or float32, channels last. None where there is nothing to compare.
    facts : dict of float, optional
        What else is known of a network, such as the size of its arena.
    """

    call: Callable[[], object]
    output: Callable[[], np.ndarray] | None = None
    facts: dict[str, float] | None = None


@dataclass(frozen=True)
class Variant:
    """One way in which a peer computes a case.

    Attributes
    ----------
    name : str
        As tables show it, the peer's name first.
    precision : str
        ``"int8"``, ``"int4"`` or ``"fp32"``.
    build : callable
        ``build(data)`` gives the runner; raises where the peer cannot do it.
    """

    name: str
    precision: str
    build: Callable[[Data], Runner]


class Peer(Protocol):
    """What every contender is."""

    name: str
    version: str

    def __init__(self, threads: int) -> None:
        """Import the package; ImportError where it is missing."""

    def variants(self, case: Case) -> Sequence[Variant]:
        """Every way in which this peer can run a case; none if it cannot."""


PEERS = {
    "octensor": "own:Octensor",
    "numpy": "numpy_:NumPy",
    "torch": "torch_:Torch",
    "onnxruntime": "onnxruntime_:OnnxRuntime",
    "openvino": "openvino_:OpenVino",
    "litert": "litert:LiteRt",
    "ncnn": "ncnn_:Ncnn",
}


def load(name: str, threads: int) -> Peer:
    """Make a peer that runs on some threads.

    Raises
    ------
    ImportError
        Where its package is not installed.
    """
    module, _, attribute = PEERS[name].partition(":")
    made: Peer = getattr(importlib.import_module(f".{module}", __name__), attribute)(threads)
    return made
