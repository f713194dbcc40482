"""Whole networks beside PyTorch, ONNX Runtime, OpenVINO and LiteRT: AVX2 against AVX2, one and two threads.

python bench/networks.py [further options of `octensor bench`]
"""

from __future__ import annotations

import sys

from octensor.cli import main

if __name__ == "__main__":
    chosen = ["networks", "sequences", "--isa", "avx2", "--threads", "1,2", "--full"]
    sys.exit(main(["bench", *chosen, *sys.argv[1:]]))
