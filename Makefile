# Every target starts from a bare Python 3.11 (with pip) and a C++20 compiler, makes the virtual
# environment it needs under .venv/, and does again only what changed (stamp files).
#
#   make quickstart     install octensor as a user would, then run examples/quickstart.py
#   make test           build the wheel, install it, run the test suite      (PYTEST_ARGS="-k conv2d")
#   make lint           ruff, mypy, clang-format: read only
#   make format         let ruff and clang-format rewrite what `make lint` would refuse
#   make stubs          write python/octensor/_C.pyi anew from the built extension
#   make wheel          a wheel for this machine's architecture with its manylinux tag, in dist/
#   make wheel-arm      the same, cross-built for aarch64
#   make test-arm       run the aarch64 wheel's suite under emulation (ARM_CPUS="max neoverse-n1 cortex-a72")
#   make test-vnni      run the suite on the AVX-VNNI and AVX-512 VNNI kernels, emulated where this CPU lacks them
#   make matrix         SHA-256 of fixed ops and networks on every instruction set that can be reached, compared
#   make mca            the compiled inner loops under llvm-mca, beside the bound of their multiply ports
#   make test-baseline  run the x86-64 wheel's suite on an emulated CPU without AVX
#   make test-sanitize  run the suite on a build with the address and undefined-behaviour sanitizers
#   make parity         compare with PyTorch, in an environment of its own   (PYTEST_ARGS="-k lstm")
#   make coverage       write docs/coverage.md anew from the tests' marks
#   make fuzz           a minute of hostile files for each loader             (FUZZ_SECONDS=3600)
#   make hammer         eight threads run one program for a minute: equal bytes, no growth of memory
#   make bench          octensor bench, beside other runtimes    (BENCH_ARGS="conv --threads 1,2 --json out.json")
#   make performance    measure everything, write the tables of docs/performance.md anew
#   make bench-tiles    the innermost loops alone, under Google Benchmark  (BENCH_ARGS="--benchmark_filter=avx2")
#   make clean          remove all of the above
#
# OCTENSOR_TEST_PROFILE=default|thorough|emulated chooses how many examples the property tests draw.

PYTHON ?= python3
PYTEST_ARGS ?=
ARM_CPUS ?= max neoverse-n1 cortex-a72
BENCH_ARGS ?=
FUZZ_SECONDS ?= 60

# What a wheel is made of: touching any of these builds it anew (incrementally).
SOURCES := $(shell find csrc third_party python -type f ! -name '*.pyc' 2>/dev/null) CMakeLists.txt pyproject.toml
CPP := $(shell find csrc bench python -type f \( -name '*.h' -o -name '*.cpp' \) 2>/dev/null)

.PHONY: quickstart test wheel wheel-arm test-arm test-vnni matrix mca test-baseline test-sanitize parity coverage fuzz hammer bench performance bench-tiles lint format stubs clean
.SECONDARY:

# --- environments and builds ----------------------------------------------------------------------

.venv/%/ready: requirements/%.txt requirements/build.txt requirements/run.txt
	$(PYTHON) -m venv .venv/$*
	.venv/$*/bin/pip install --quiet -r requirements/$*.txt
	@touch $@

# One wheel for every native target. The objects stay in build/native for tests/test_structure.py.
build/wheel/ready: .venv/test/ready $(SOURCES)
	rm -rf build/wheel
	.venv/test/bin/pip wheel --quiet --no-deps --no-build-isolation -Cbuild-dir=build/native -w build/wheel .
	@touch $@

.venv/%/installed: .venv/%/ready build/wheel/ready
	.venv/$*/bin/pip install --quiet --no-deps --force-reinstall build/wheel/*.whl
	@touch $@

.venv/quickstart/user: requirements/quickstart.txt $(SOURCES)
	$(PYTHON) -m venv .venv/quickstart
	.venv/quickstart/bin/pip install --quiet . -r requirements/quickstart.txt
	@touch $@

# --- what people run ------------------------------------------------------------------------------

quickstart: .venv/quickstart/user
	.venv/quickstart/bin/python examples/quickstart.py

test: .venv/test/installed
	OCTENSOR_BUILD_DIR=build/native OCTENSOR_WHEEL="$$(echo build/wheel/*.whl)" \
	  .venv/test/bin/python -m pytest $(PYTEST_ARGS)

wheel: build/wheel/ready .venv/cross/ready
	PATH=$(CURDIR)/.venv/cross/bin:$$PATH auditwheel repair -w dist build/wheel/*.whl

wheel-arm: .venv/cross/ready
	scripts/wheel-arm.sh
	mkdir -p dist
	cp build/arm/wheel/*.whl dist/

test-arm: .venv/cross/ready
	scripts/test-arm.sh $(ARM_CPUS)

test-vnni: .venv/test/installed
	scripts/test-vnni.sh

matrix: .venv/test/installed
	scripts/hash-matrix.sh

mca: .venv/test/installed
	.venv/test/bin/python scripts/mca.py

test-baseline: .venv/test/installed
	scripts/test-baseline.sh

build/sanitize/ready: .venv/test/ready $(SOURCES)
	scripts/build-sanitized.sh build/sanitize
	@touch $@

# The instruction sets' kernels take most of the time of a sanitized build; loaders are fuzzed without them.
build/sanitize-scalar/ready: .venv/test/ready $(SOURCES)
	scripts/build-sanitized.sh build/sanitize-scalar -Ccmake.define.OCTENSOR_SCALAR_ONLY=ON
	@touch $@

test-sanitize: build/sanitize/ready
	scripts/test-sanitize.sh

# PyTorch is installed here and nowhere else: the package never needs it.
parity: .venv/parity/installed
	.venv/parity/bin/python -m pytest tests/parity $(PYTEST_ARGS)

coverage: .venv/test/installed
	.venv/test/bin/python scripts/coverage.py

# Led by coverage, under the address sanitizer; findings are kept in build/fuzz.
fuzz: build/sanitize-scalar/ready .venv/fuzz/ready
	scripts/fuzz.sh $(FUZZ_SECONDS)

# Eight threads on one program, for a minute: equal bytes, no growth.
hammer: .venv/test/installed
	OCTENSOR_HAMMER_SECONDS=60 .venv/test/bin/python -m pytest -s tests/test_program.py -k hammer

BENCH := OCTENSOR_BENCH_CACHE=$(CURDIR)/build/bench .venv/peers/bin/octensor bench
bench: .venv/peers/installed
	$(BENCH) $(BENCH_ARGS)

# In parts, so that one that fails leaves the others.
PERFORMANCE := gemm conv depthwise grouped dynamic lstm elementwise pool int4 networks sequences
performance: .venv/peers/installed
	mkdir -p build/performance
	for group in $(PERFORMANCE); do \
	  $(BENCH) $$group --isa avx2 --threads 1,2 --json build/performance/$$group.json || exit 1; \
	done
	.venv/peers/bin/python scripts/performance.py $(PERFORMANCE:%=build/performance/%.json)

bench-tiles: .venv/test/ready
	.venv/test/bin/cmake -S . -B build/tiles -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/.venv/test/bin/ninja \
	  -DPython_EXECUTABLE=$(CURDIR)/.venv/test/bin/python -DOCTENSOR_BENCH=ON \
	  -Dpybind11_DIR=$$(.venv/test/bin/python -m pybind11 --cmakedir)
	.venv/test/bin/ninja -C build/tiles octensor_tiles
	build/tiles/bench/octensor_tiles $(BENCH_ARGS)

lint: .venv/lint/ready
	.venv/lint/bin/ruff check .
	.venv/lint/bin/ruff format --check .
	.venv/lint/bin/mypy python/octensor
	.venv/lint/bin/clang-format --dry-run -Werror $(CPP)

format: .venv/lint/ready
	.venv/lint/bin/ruff check --fix .
	.venv/lint/bin/ruff format .
	.venv/lint/bin/clang-format -i $(CPP)

stubs: .venv/test/installed
	.venv/test/bin/python scripts/stubs.py

clean:
	rm -rf .venv build dist .hypothesis .pytest_cache .mypy_cache .ruff_cache
