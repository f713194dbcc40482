"""`octensor.fx`: models as graphs, by the names of torch.fx.

* `symbolic_trace`, `Tracer`, `Proxy`, `wrap`: a graph whose nodes are layers, functions and methods, for rewriting.
* `record`: a graph whose nodes are ops, from running the model on example inputs, for programs.
* `Graph`, `Node`, `GraphModule`: the graph, and a module that runs it.
* `Interpreter`, `Transformer`, `ShapeProp`, `replace_pattern`: run it node by node, change it, know its shapes.
* `to_dot`, `draw`: see it.
"""

from __future__ import annotations

from .graph.draw import draw, to_dot
from .graph.errors import TraceError
from .graph.graph import Graph
from .graph.graph_module import GraphModule
from .graph.intercept import wrap
from .graph.interpreter import Interpreter, ShapeProp, Transformer
from .graph.meta import TensorMeta
from .graph.node import Node, map_arg
from .graph.proxy import Attribute, Proxy
from .graph.python_code import PythonCode
from .graph.record import record
from .graph.rewriter import Match, replace_pattern
from .graph.tracer import GraphAppendingTracer, Tracer, TracerBase, symbolic_trace

__all__ = [
    "Attribute",
    "Graph",
    "GraphAppendingTracer",
    "GraphModule",
    "Interpreter",
    "Match",
    "Node",
    "Proxy",
    "PythonCode",
    "ShapeProp",
    "TensorMeta",
    "TraceError",
    "Tracer",
    "TracerBase",
    "Transformer",
    "draw",
    "map_arg",
    "record",
    "replace_pattern",
    "symbolic_trace",
    "to_dot",
    "wrap",
]
