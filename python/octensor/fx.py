"""`octensor.fx`: models as graphs, by the names of torch.fx.

* `symbolic_trace`, `Tracer`, `Proxy`, `wrap`: a graph whose nodes are layers, functions and methods, for rewriting.
* `record`: a graph whose nodes are ops, from running the model on example inputs, for programs.
* `Graph`, `Node`, `GraphModule`: the graph, and a module that runs it.
"""

from __future__ import annotations

from .graph.errors import TraceError
from .graph.graph import Graph
from .graph.graph_module import GraphModule
from .graph.intercept import wrap
from .graph.node import Node, map_arg
from .graph.proxy import Attribute, Proxy
from .graph.python_code import PythonCode
from .graph.record import record
from .graph.tracer import GraphAppendingTracer, Tracer, TracerBase, symbolic_trace

__all__ = [
    "Attribute",
    "Graph",
    "GraphAppendingTracer",
    "GraphModule",
    "Node",
    "Proxy",
    "PythonCode",
    "TraceError",
    "Tracer",
    "TracerBase",
    "map_arg",
    "record",
    "symbolic_trace",
    "wrap",
]
