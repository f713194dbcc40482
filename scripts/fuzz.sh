#!/usr/bin/env bash
# fuzz.sh SECONDS [LOADER...]: fuzz each loader for so long under the address and undefined-behaviour sanitizers, led by
# coverage. Findings and logs are kept in build/fuzz, inputs that reached something new in build/fuzz/corpus, from which
# the next run starts. Called by `make fuzz`, which has built what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
shift
[ $# -gt 0 ] || set -- onnx oct torch safetensors
source scripts/sanitized-env.sh
# Atheris' own: GCC's library would catch the counters of coverage, and a crash would not keep its input. What calls the
# mutations of tests/fuzz must be there when libFuzzer looks for it, at the start.
packages=$(.venv/fuzz/bin/python -c 'import atheris; print(atheris.path())')
SANITIZERS="$packages/asan_with_fuzzer.so $(echo "$packages"/atheris/custom_mutator.*.so)"
# A model that asks for much memory is answered, as if there were no more, before the machine suffers.
export ASAN_OPTIONS=quarantine_size_mb=4:soft_rss_limit_mb=800:max_allocation_size_mb=600

failed=0
mkdir -p build/fuzz
for loader in "$@"; do
  log=build/fuzz/$loader.log
  sanitized build/sanitize-scalar .venv/fuzz/bin/python tests/fuzz/octfuzz.py "$loader" --seconds "$seconds" \
    --seed "${FUZZ_SEED:-0}" --keep build/fuzz --corpus "build/fuzz/corpus/$loader" 2> "$log" || {
    failed=1
    grep -vE '^#[0-9]+|^INFO' "$log" | tail -60 || true
  }
  # libFuzzer's counts of branches and features, at the beginning and at the end
  counts=$(grep -oE 'cov: [0-9]+ ft: [0-9]+ corp: [0-9]+' "$log" || true)
  echo "$loader: $(sed -n '1p;$p' <<<"$counts" | paste -sd ' ' | sed 's/ cov:/ -> cov:/')"
done
exit $failed
