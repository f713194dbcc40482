// What the innermost loops reach with their operands in the L1 cache, for every instruction set that this
// CPU has; nothing is packed, threaded or allocated while they run. `make bench-tiles`.
//
//   gemm/ISA/K       the GEMM kernel of the ISA's KernelTable on a few row tiles and one panel
//   depthwise/ISA/C  a 3x3 depthwise convolution of a small image, through its op
//   quantize/ISA/N   float32 to 8-bit codes, through its op
//
// The rate is in operations per second (a multiply-add is two) or bytes read and written per second.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <vector>

#include "isa/dispatch.h"
#include "ops/ops.h"

namespace {

using namespace octensor;

constexpr int64_t kRowTiles = 4;

// Where a table's GEMM mixes two kinds of groups of K (kernels/gemm_mixed.h): all are twins, as for ordinary weights.
struct AllTwins {
  std::vector<uint16_t> order, twins;

  void fill(GemmArgs& args, const GemmTile& tile) {
    if (!tile.mixed_block) return;
    for (int64_t i = 0; i < args.groups; ++i) order.push_back(static_cast<uint16_t>(i % tile.mixed_block * 8));
    for (int64_t i = 0; i < args.groups; i += tile.mixed_block)
      twins.push_back(static_cast<uint16_t>(std::min<int64_t>(tile.mixed_block, args.groups - i) / 2 * 2));
    args.order = order.data();
    args.twins = twins.data();
  }
};

void gemm(benchmark::State& state, const KernelTable& table, int64_t k) {
  const GemmTile& tile = table.tile;
  const int64_t rows = tile.rows * kRowTiles, groups = (k + tile.group - 1) / tile.group;
  // Enough for any layout of the activations.
  std::vector<uint8_t> a(rows * groups * tile.group * 4, 3), codes(rows * tile.panel);
  std::vector<int8_t> b(groups * tile.group * tile.panel, 5);
  std::vector<int32_t> scratch(rows * tile.panel), bias(tile.panel + 16), sums(2 * tile.panel + 64);
  std::vector<float> multiplier(tile.panel + 16, 0.001f);
  GemmArgs args{};
  args.a = a.data();
  args.rows = rows;
  args.lda = groups * tile.group * (tile.mixed_block ? 2 : 1) + (tile.mixed_block ? 4 : 0);
  args.b = b.data();
  args.columns = tile.panel;
  args.groups = groups;
  args.weight_sums = sums.data();
  args.requantize = {.bias = bias.data(), .multiplier = multiplier.data(), .lo = -128, .hi = 127, .zero_point = 128};
  args.codes = codes.data();
  args.ldc = tile.panel;
  args.scratch = scratch.data();
  AllTwins mixed;
  mixed.fill(args, tile);
  for (auto _ : state) {
    table.gemm(args);
    benchmark::ClobberMemory();
  }
  state.counters["op/s"] =
      benchmark::Counter(2.0 * rows * tile.panel * k, benchmark::Counter::kIsIterationInvariantRate);
}

QParamsPtr params(float scale, int32_t zero_point, DType dtype) {
  return std::make_shared<const QParams>(std::vector<float>{scale}, std::vector<int32_t>{zero_point}, dtype);
}

QTensor codes(const Shape& shape, QParamsPtr qparams) {
  const Shape strides = dense_strides(shape, Layout::contiguous);
  const std::vector<float> values(shape[0] * strides[0], 0.5f);
  return ops::quantize({values.data(), shape, strides}, std::move(qparams), Layout::channels_last);
}

void depthwise(benchmark::State& state, const std::string& isa, int64_t channels) {
  set_isa(isa);
  constexpr int64_t kSize = 14;
  const QTensor x = codes({1, channels, kSize, kSize}, params(0.02f, 128, DType::quint8));
  const QTensor w = codes({channels, 1, 3, 3}, params(0.01f, 0, DType::qint8));
  const PackedConv packed = PackedConv::conv(w, {}, {1, 1}, {1, 1}, {1, 1}, channels);
  const QParamsPtr out = params(0.05f, 128, DType::quint8);
  for (auto _ : state) benchmark::DoNotOptimize(ops::conv(x, packed, out, false));
  const double work = 2.0 * 9 * channels * kSize * kSize;
  state.counters["op/s"] = benchmark::Counter(work, benchmark::Counter::kIsIterationInvariantRate);
}

void quantize(benchmark::State& state, const std::string& isa, int64_t n) {
  set_isa(isa);
  const std::vector<float> x(n, 0.5f);
  const QParamsPtr qparams = params(0.02f, 128, DType::quint8);
  for (auto _ : state) benchmark::DoNotOptimize(ops::quantize({x.data(), {n}, {1}}, qparams, Layout::contiguous));
  state.SetBytesProcessed(state.iterations() * n * 5);
}

}  // namespace

int main(int argc, char** argv) {
  for (const IsaRow& row : isa_rows()) {
    if (!row.supported()) continue;
    const std::string isa = row.name;
    for (const int64_t k : {64, 128, 256})
      benchmark::RegisterBenchmark(("gemm/" + isa + "/" + std::to_string(k)).c_str(), gemm, *row.kernels, k);
    for (const int64_t channels : {32, 64})
      benchmark::RegisterBenchmark(("depthwise/" + isa + "/" + std::to_string(channels)).c_str(), depthwise, isa,
                                   channels);
    benchmark::RegisterBenchmark(("quantize/" + isa + "/4096").c_str(), quantize, isa, 4096);
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
