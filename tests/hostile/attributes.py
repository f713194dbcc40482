"""Every operator with every attribute 0, -1 or huge, every whole number it is given likewise, and without values.

Made from ONNX's own node tests and the schemas of its operators, so that no operator and no attribute is forgotten.
What a node is given are constants, so that the loader computes it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from .case import Case

MAX = (1 << 63) - 1
INTEGERS = (0, -1, 1 << 40, MAX)
FLOATS = (0.0, float("nan"), float("inf"), -1e30)


@cache
def node_tests() -> dict[str, Any]:
    """Return the smallest of ONNX's node tests of each operator that is read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        from octensor.onnx.importer import OPERATORS

        found: dict[str, tuple[Any, Any]] = {}
        for case in collect_testcases(None):
            node = case.model.graph.node[0]
            if len(case.model.graph.node) == 1 and node.op_type in OPERATORS and case.data_sets:
                size = (case.model.ByteSize(), case.name)
                if node.op_type not in found or size < found[node.op_type][0]:
                    found[node.op_type] = (size, case)
    return {name: case for name, (_, case) in sorted(found.items())}


def models(name: str) -> Iterator[tuple[str, bytes]]:
    """Give what is hostile about an operator, by what was changed."""
    import onnx
    from onnx import helper, numpy_helper

    from octensor.onnx.importer import OPERATORS

    case = node_tests()[name]
    inputs = dict(zip([v.name for v in case.model.graph.input], case.data_sets[0][0], strict=False))
    if not all(isinstance(v, np.ndarray) for v in inputs.values()):
        return

    def model(changed: dict[str, Any], **attributes: Any) -> bytes:
        made = onnx.ModelProto.FromString(case.model.SerializeToString())
        del made.graph.input[:]
        for key, value in {**inputs, **changed}.items():
            made.graph.initializer.append(numpy_helper.from_array(np.asarray(value), key))
        node = made.graph.node[0]
        for key, value in attributes.items():
            kept = [a for a in node.attribute if a.name != key]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(key, value)])
        return bytes(made.SerializeToString())

    node = case.model.graph.node[0]
    held = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    version = max(o.version for o in case.model.opset_import if o.domain == node.domain)
    for attribute in onnx.defs.get_schema(name, version, node.domain).attributes.values():
        if attribute.name not in OPERATORS[name].attributes:
            continue
        kind = attribute.type.name
        for value in INTEGERS if kind.startswith("INT") else FLOATS if kind.startswith("FLOAT") else ():
            if kind.endswith("S"):
                for i in range(len(held.get(attribute.name, (1, 1)))):
                    values = list(held.get(attribute.name, (1, 1)))
                    values[i] = value
                    yield f"{attribute.name}[{i}] = {value}", model({}, **{attribute.name: values})
            else:
                yield f"{attribute.name} = {value}", model({}, **{attribute.name: value})
    for key, array in inputs.items():
        if array.dtype == np.int64 and array.size:
            for value in INTEGERS:
                changed = array.copy()
                changed.reshape(-1)[0] = value
                yield f"{key}[0] = {value}", model({key: changed})
        for axis in range(min(array.ndim, 4)):
            yield f"{key} without axis {axis}", model({key: np.take(array, [], axis)})


def write(folder: Path, data: bytes) -> Path:
    (folder / "x.onnx").write_bytes(data)
    return folder / "x.onnx"


def cases() -> Iterator[Case]:
    """Give them all."""
    for name in node_tests():
        for change, data in models(name):
            yield Case("onnx", f"{name}: {change}", partial(write, data=data), None)
