"""The bench: octensor beside other runtimes, side by side in one run, a process for each.

From the command line, ``octensor bench gemm --peers torch,onnxruntime --threads 1,2``; from Python,
:func:`octensor.bench.run.collect`. ``docs/performance.md`` describes the method.

* ``cases`` what is measured; ``operands`` what it computes with and the exact result
* ``peers`` who is measured, a file each; ``ceilings`` what the machine itself reaches
* ``side`` one runtime's contenders, ``child`` a process for them that is stopped when it is not their turn
* ``timing`` interleaved rounds, medians, ratios; ``run`` puts these together
* ``networks`` whole networks from ``examples/networks``, ``make_network`` and ``tflite`` their files for each runtime
* ``report``, ``chart``, ``markdown`` show the results; ``mask`` holds peers to AVX2

Nothing here is imported by the rest of octensor.
"""
