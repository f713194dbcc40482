"""Exported int8 models in ONNX Runtime: how far its outputs are from octensor's, in steps of the output's scale.

Trained networks on the data of the other scripts, and networks with random weights, which amplify a single code that
differs until it is everywhere. ``--weights FILE`` adds the Fashion-MNIST network that fashion.py trained.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import common
import fashion
import fashion_mnist
import mobilenet_v2
import numpy as np
import peer
import rnet
from networks import DepthwiseCNN, MobileNetV2, RNet

import octensor as ot
from octensor import nn
from octensor.bench import networks
from octensor.quantization import get_default_qconfig

RANDOM = {
    "ResNet-18, random": ("resnet", "resnet18"),
    "ResNet-50, random": ("resnet", "resnet50"),
    "MobileNetV2, random": ("mobilenet_v2", "mobilenet_v2"),
    "EfficientNet-Lite0, random": ("efficientnet_lite", "efficientnet_lite0"),
}


def trained(model: nn.Module, weights: Path) -> nn.Module:
    """Return the network with its weights, in eval mode."""
    model.load_state_dict(ot.load(weights))
    return model.eval()


def cases(data: Path | None, weights: Path | None) -> Iterator[tuple[str, nn.Module, np.ndarray]]:
    """Yield int8 networks and inputs."""
    photographs = common.find(*mobilenet_v2.PHOTOGRAPHS, data)
    model = trained(MobileNetV2(), common.find(*mobilenet_v2.WEIGHTS, data)[0])
    crops = mobilenet_v2.crops(photographs, 2, seed=1)
    yield "MobileNetV2, ImageNet", mobilenet_v2.quantize(model, crops), mobilenet_v2.crops(photographs, 5, seed=0)
    x, _ = rnet.load_patches(common.find(*rnet.PATCHES, data)[0])
    yield "RNet", rnet.quantize(trained(RNet(), common.find(*rnet.WEIGHTS, data)[0]), x[::4]), x
    if weights is not None:
        calibration = fashion.images(data, "train")[: fashion_mnist.CALIBRATION]
        int8 = fashion_mnist.quantize(trained(DepthwiseCNN(), weights), calibration, get_default_qconfig())
        yield "Fashion-MNIST", int8, fashion.images(data, "t10k")
    rng, made = np.random.default_rng(7), networks.weights()
    for name, (file, maker) in RANDOM.items():
        x = rng.standard_normal((20, 3, 224, 224), np.float32)
        model = made.initialise(getattr(networks.architecture(file), maker)(), x[:8])
        yield name, made.quantize_static(model, [x[:8]]), x[8:]


def step_of(path: Path) -> float:
    """Return the scale of the output: of the last DequantizeLinear."""
    import onnx

    graph = onnx.load(path).graph
    last = [node for node in graph.node if node.op_type == "DequantizeLinear"][-1]
    return float(next(onnx.numpy_helper.to_array(i) for i in graph.initializer if i.name == last.input[1]))


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this script."""
    parser.add_argument("--weights", type=Path, help="what fashion.py wrote")


def main() -> None:
    given = common.arguments(__doc__, options)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        for name, model, x in cases(given.data, given.weights):
            ours = common.run(model, x)
            for kind, exact, optimised in (
                ("exact", True, True),
                ("exact, not optimised", True, False),
                ("exact=False", False, True),
            ):
                ot.onnx.export(model, path, ot.from_numpy(x[:1]), exact=exact)
                far = np.rint(np.abs(common.run(peer.Session(path, not optimised), x) - ours) / step_of(path))
                shares = [f"{100 * share:.2f}" for share in (np.mean(far == 0), np.mean(far <= 1))]
                rows.append([name, kind, far.size, *shares, int(far.max())])
                print(*rows[-1], flush=True)
    columns = ["export", "values", "equal, %", "within a step, %", "largest distance, steps"]
    common.table("Exported, in ONNX Runtime", columns, rows)


if __name__ == "__main__":
    main()
