"""Rules that rewrite a graph without changing what it computes.

A rule is a function that takes a graph module, rewrites every place it fits, and returns how many there were. Whatever
it does, the result keeps every bit; so it fires only where the value it takes away is used nowhere else, and never on a
layer in train mode. `RULES` lists them in the order in which they are tried; `simplify` applies them until none fires.

Folding a batch norm and fusing a ReLU are right for layers in one state only. They have a table of their own, shared
with `fuse_modules` (`octensor.quantization.fx.fuse`), as has what a sum and a ReLU become (`.handlers`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from octensor.graph.graph_module import GraphModule
from octensor.graph.rules.constants import fold_constants
from octensor.graph.rules.drop import drop_dead, drop_idle, drop_unused_attributes, merge_duplicates
from octensor.graph.rules.requantize import merge_requantizations, push_dequantize, push_quantize

__all__ = [
    "RULES",
    "Rule",
    "drop_dead",
    "drop_idle",
    "drop_unused_attributes",
    "fold_constants",
    "merge_duplicates",
    "merge_requantizations",
    "push_dequantize",
    "push_quantize",
    "simplify",
]

Rule = Callable[[GraphModule], int]

RULES: tuple[Rule, ...] = (
    drop_idle,
    push_dequantize,
    push_quantize,
    merge_requantizations,
    fold_constants,
    merge_duplicates,
    drop_dead,
)


def simplify(modules: GraphModule, rules: Sequence[Rule] = RULES) -> dict[str, int]:
    """Apply rules, in place, until none fires; return how often each did, by name.

    >>> import octensor as ot
    >>> net = ot.fx.symbolic_trace(ot.nn.Sequential(ot.nn.Identity(), ot.nn.ReLU()).eval())
    >>> simplify(net)
    {'drop_idle': 1}
    >>> [node.target for node in net.graph.nodes]
    ['input', '1', 'output']
    """
    fired: dict[str, int] = {}
    changed = True
    while changed:
        changed = False
        for rule in rules:
            count = rule(modules)
            if count:
                fired[rule.__name__] = fired.get(rule.__name__, 0) + count
                changed = True
    modules.delete_all_unused_submodules()
    drop_unused_attributes(modules)
    modules.recompile()
    return fired
