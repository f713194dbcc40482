"""Fashion-MNIST: its files as arrays, and three epochs of training in PyTorch, whose file fashion_mnist.py reads.

``python examples/real/fashion.py --data FOLDER`` (the Debian package dataset-fashion-mnist installs to
/usr/share/datasets/fashion-mnist) writes fashion_mnist.pth into the current folder.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import common
import numpy as np
import peer

PACKAGE = "dataset-fashion-mnist"
WEIGHTS = "fashion_mnist.pth"
EPOCHS, BATCH = 3, 64


def images(data: Path | None, part: str) -> np.ndarray:
    """Return the images of "train" or "t10k" as [n, 1, 28, 28] around zero."""
    values = gzip.decompress(common.find(PACKAGE, f"{part}-images-idx3-ubyte.gz", data)[0].read_bytes())
    return (np.frombuffer(values, np.uint8, offset=16).reshape(-1, 1, 28, 28) / np.float32(127.5) - 1).astype(
        np.float32
    )


def labels(data: Path | None, part: str) -> np.ndarray:
    values = gzip.decompress(common.find(PACKAGE, f"{part}-labels-idx1-ubyte.gz", data)[0].read_bytes())
    return np.frombuffer(values, np.uint8, offset=8).astype(np.int64)


def main() -> None:
    import torch

    data = common.arguments(__doc__).data
    torch.manual_seed(0)
    x, y = torch.from_numpy(images(data, "train")), torch.from_numpy(labels(data, "train"))
    model = peer.torch_model("depthwise_cnn", "DepthwiseCNN")
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    steps = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(BATCH)[: len(x) // BATCH]:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.3f}", flush=True)
    torch.save(model.state_dict(), WEIGHTS)


if __name__ == "__main__":
    main()
