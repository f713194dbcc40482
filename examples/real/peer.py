"""The same network in ONNX Runtime: float, and quantized with its own tools from the same weights and calibration.

Its int8 is shown twice. *default* is what users run. *exact* is the same file with graph optimisation off, so that
each QuantizeLinear and DequantizeLinear is computed as it is written and no product saturates in int16.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import common
import numpy as np

from octensor.bench.networks import architecture
from octensor.nn import Module


def torch_model(file: str, name: str):
    """Make PyTorch's network from the source of an architecture of ``examples/networks``."""
    return getattr(architecture(file, "torch"), name)()


def export(file: str, name: str, model: Module, example: np.ndarray, path: Path, open_axes: int = 1) -> None:
    """Write a float model of ``examples/networks`` as ONNX: PyTorch exports the same source with the same weights.

    Parameters
    ----------
    file, name : str
        Where the architecture is, and its class.
    model : Module
        octensor's, whose weights are taken.
    example : ndarray
        An input.
    path : Path
        The file to write.
    open_axes : int
        How many of the input's first axes have any size.
    """
    import torch

    twin = torch_model(file, name)
    state = {key: torch.from_numpy(np.array(value)) for key, value in model.state_dict().items()}
    twin.load_state_dict(state, strict=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the older exporter, which needs no further package
        torch.onnx.export(
            twin.eval(),
            (torch.from_numpy(example),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {axis: f"n{axis}" for axis in range(open_axes)}, "y": {0: "n0"}},
        )


def quantize(source: Path, target: Path, calibration: Iterable[np.ndarray], **settings: object) -> None:
    """Quantize statically: uint8 activations, int8 weights with a scale per output, as QuantizeLinear pairs."""
    import onnxruntime.quantization as tools

    class Reader(tools.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.left, None)
            return None if batch is None else {"x": batch}

    prepared = target.with_suffix(".prepared.onnx")
    tools.shape_inference.quant_pre_process(str(source), str(prepared))
    tools.quantize_static(
        str(prepared),
        str(target),
        Reader(),
        quant_format=tools.QuantFormat.QDQ,
        per_channel=True,
        activation_type=tools.QuantType.QUInt8,
        weight_type=tools.QuantType.QInt8,
        **settings,
    )


def quantize_dynamic(source: Path, target: Path, operators: list[str] | None = None) -> None:
    """Quantize dynamically: int8 weights with a scale per output; all operators that it knows, or those named."""
    import onnxruntime.quantization as tools

    prepared = target.with_suffix(".prepared.onnx")
    tools.shape_inference.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    tools.quantize_dynamic(str(prepared), str(target), operators, per_channel=True, weight_type=tools.QuantType.QInt8)


def static(file: str, name: str, model: Module, calibration: np.ndarray) -> dict[str, Session]:
    """Return ONNX Runtime's side of a comparison, named as its columns are; nothing where packages are missing.

    Parameters
    ----------
    file, name, model
        As for `export`.
    calibration : ndarray
        Samples.
    """
    if not available():
        return {}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        export(file, name, model, calibration[:1], source)
        quantize(source, target, calibration[:, None])
        return {
            common.PEER_FLOAT: Session(source),
            "ONNX Runtime, default": Session(target),
            "ONNX Runtime, exact": Session(target, exact=True),
        }


def dynamic(file: str, name: str, model: Module, example: np.ndarray) -> dict[str, Session]:
    """Return ONNX Runtime's side for a network of tokens [batch, length], quantized dynamically."""
    if not available():
        return {}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        export(file, name, model, example, source, open_axes=2)
        quantize_dynamic(source, target)
        return {common.PEER_FLOAT: Session(source), "ONNX Runtime int8": Session(target)}


class Session:
    """A model that runs in ONNX Runtime on one thread; called like octensor's.

    Parameters
    ----------
    path : Path
        Of the ONNX file.
    exact : bool
        Whether graph optimisation is off.
    """

    def __init__(self, path: Path, exact: bool = False) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        if exact:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.size = path.stat().st_size
        self.names = [value.name for value in self.session.get_inputs()]

    def __call__(self, *values: object) -> np.ndarray:
        return self.all(*values)[0]

    def all(self, *values: object) -> list[np.ndarray]:
        """Return every output."""
        return list(self.session.run(None, self._feed(*values)))

    def timed(self, *example: np.ndarray) -> Callable[[], object]:
        """Return the call that computes the example's outputs."""
        return partial(self.session.run, None, self._feed(*example))

    def _feed(self, *values: object) -> dict[str, np.ndarray]:
        return dict(zip(self.names, map(np.asarray, values), strict=True))


def available() -> bool:
    """Whether the packages for the comparison are installed."""
    try:
        import onnxruntime  # noqa: F401
        import torch  # noqa: F401
    except ImportError:
        print("without onnxruntime and torch: octensor alone (requirements/peers.txt)", file=sys.stderr)
        return False
    return True
