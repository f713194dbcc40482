"""Models as graphs: `Graph`, `Node`, `GraphModule`, and the two ways to make them.

`symbolic_trace` runs a model on proxies and keeps its layers as nodes, for rewriting; `record` runs it on example
inputs and keeps the ops, for programs. The public names are in `octensor.fx`.
"""
