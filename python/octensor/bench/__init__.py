"""The bench: octensor beside other runtimes, side by side in one process, in one run.

From the command line, ``octensor bench gemm --peers torch,onnxruntime --threads 1,2``; from Python,
:func:`octensor.bench.run.collect`. ``docs/performance.md`` describes the method.

* ``cases`` what is measured; ``operands`` what it computes with and the exact result
* ``peers`` who is measured, a file each; ``ceilings`` what the machine itself reaches
* ``timing`` interleaved rounds, medians, ratios; ``run`` puts these together
* ``report``, ``chart``, ``markdown`` show the results; ``mask`` holds peers to AVX2

Nothing here is imported by the rest of octensor.
"""
