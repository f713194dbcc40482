"""`load`: one entry for every file that holds tensors, chosen by its first bytes and never by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..tensor import Tensor
from . import model_file, safetensors_file
from .limits import LEGACY_MAGIC


def load(path: str | Path) -> Any:
    """Load a model that `save` wrote; or tensors, from a file of safetensors or of ``torch.save``.

    Nothing in the file is executed: pickles are read as data (no import, no call), and whatever they hold besides
    tensors in plain containers is refused. Tensors are views of the mapped file and cannot be written to;
    `Module.load_state_dict` copies them.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    GraphModule, dict, or what ``torch.save`` was given
        A model; or tensors by name, with QTensors for torch's quantized ones.

    Raises
    ------
    ValueError
        If the file is damaged, hostile, or of another kind; the message says where.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import octensor as ot, tempfile, pathlib, numpy as np
    >>> from safetensors.numpy import save_file
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "state.safetensors"
    >>> save_file({"weight": np.eye(2, dtype=np.float32)}, path)
    >>> ot.load(path)["weight"]
    tensor([[1., 0.],
            [0., 1.]])
    """
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(16)
    if start[:4] == b"PK\x03\x04" or start[2:14] == b"\x8a\n" + LEGACY_MAGIC.to_bytes(10, "little"):
        from .torch_file import TorchFile  # with what Python has for archives: who loads a model does without

        return TorchFile(path).read()
    if safetensors_file.recognises(start, size):
        arrays, metadata = safetensors_file.read_safetensors(path)
        if model_file.KEY in metadata:
            return model_file.read_model(f"load: {path.name}", arrays, metadata[model_file.KEY])
        return {name: Tensor(values) for name, values in arrays.items()}
    raise ValueError(
        f"load: {path.name}: expected a file of safetensors or of torch.save, got {size} bytes: {start!r}…"
    )
