def simplify(modules):
    modules.graph.eliminate_dead_code()
    modules.recompile()
