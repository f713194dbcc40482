#include "ops/int4.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "core/check.h"
#include "core/scratch.h"
#include "isa/dispatch.h"
#include "ops/dynamic.h"
#include "ops/float_rows.h"
#include "ops/tasks.h"

namespace octensor {
PackedInt4Linear::PackedInt4Linear(std::vector<uint8_t> nibbles, int64_t n, int64_t k, int64_t group_size,
                                   std::vector<float> scales, std::vector<int8_t> zero_points, std::vector<float> bias)
    : n_(n),
      k_(k),
      group_size_(group_size),
      groups_(group_size > 0 ? (k + group_size - 1) / group_size : 0),
      nibbles_(std::move(nibbles)),
      scales_(std::move(scales)),
      zero_points_(std::move(zero_points)),
      bias_(std::move(bias)) {
  constexpr const char* op = "linear_int4";
  check(group_size == 32 || group_size == 64 || group_size == 128, op, ": group_size: expected 32, 64 or 128, got ",
        group_size);
  check(static_cast<int64_t>(nibbles_.size()) == n * ((k + 1) / 2), op, ": weight: expected ", n * ((k + 1) / 2),
        " bytes for [", n, ", ", k, "] codes, two to a byte, got ", nibbles_.size());
  check(static_cast<int64_t>(scales_.size()) == n * groups_, op, ": scales: expected ", n * groups_, " values for [", n,
        ", ", groups_, "] groups, got ", scales_.size());
  check(zero_points_.empty() || zero_points_.size() == scales_.size(), op, ": zero_points: expected ", scales_.size(),
        " values, one per group, or none, got ", zero_points_.size());
  check(bias_.empty() || static_cast<int64_t>(bias_.size()) == n, op, ": bias: expected ", n,
        " values, one per output channel, got ", bias_.size());
  for (float b : bias_) check(std::isfinite(b), op, ": bias: expected finite numbers, got ", b);
  for (int8_t z : zero_points_) check(z >= -8 && z <= 7, op, ": zero_points: expected codes in [-8, 7], got ", int{z});
  // No row of codes, of whatever input, may leave float32 on the way: what is finite has no NaN to disagree about.
  ones_.assign(n, 0.0f);
  for (int64_t row = 0; row < n; ++row) {
    double most = 0;
    for (int64_t g = 0; g < groups_; ++g) {
      const float s = scales_[row * groups_ + g];
      check(std::isnormal(s) && s > 0, op, ": scales: expected finite, positive and normal float32 numbers, got ", s);
      most += 256.0 * 15.0 * double(group_size) * double(s);
      int sum = 0;
      for (int64_t i = g * group_size; i < std::min(k, (g + 1) * group_size); ++i)
        sum += code(row, i) - zero_point(row, g);
      ones_[row] += static_cast<float>(sum) * s;
    }
    check(most < double(FLT_MAX), op, ": scales: expected sums inside float32 for every input; those of channel ", row,
          " can reach ", most);
  }
}

int64_t PackedInt4Linear::panel_bytes(const KernelTable& table) const {
  return 2 * table.tile.lanes * ((has_zeros() ? 8 : 4) * groups_ + padded_k() / 2);
}

StoragePtr PackedInt4Linear::panels(const KernelTable& table) const {
  return cache_->get(table, [&] {
    const int64_t lanes = table.tile.lanes, panel = 2 * lanes, count = (n_ + panel - 1) / panel;
    const StoragePtr storage = allocate(count * panel_bytes(table));
    std::memset(storage.get(), 0, count * panel_bytes(table));
    for (int64_t row = 0; row < n_; ++row) {
      uint8_t* block = storage.get() + row / panel * panel_bytes(table);
      const int64_t column = row % panel;
      for (int64_t g = 0; g < groups_; ++g) {
        const int64_t first = g * group_size_, size = std::min(group_size_, k_ - first);
        std::memcpy(block + 4 * column, &scales_[row * groups_ + g], sizeof(float));
        block += 4 * panel;
        if (has_zeros()) {
          const int32_t zero = zero_point(row, g);
          std::memcpy(block + 4 * column, &zero, sizeof zero);
          block += 4 * panel;
        }
        for (int64_t k = 0; k < size; ++k)
          block[k / 8 * 4 * panel + column * 4 + k % 4] |=
              static_cast<uint8_t>(code(row, first + k) << (k % 8 / 4 * 4));
        block += round_up(size, kInt4Chunk) / 2 * panel;
      }
    }
    return storage;
  });
}

namespace ops {
namespace {

constexpr int64_t kBlockBytes = 256 * 1024;  // activations of a block of rows: half of a 512 KiB L2
constexpr int64_t kRowStep = 12;             // a multiple of most tiles' rows
constexpr int64_t kSerialWork = 1 << 17;     // multiply-adds below which waking a thread costs more

// Rows of a block: what fits, in blocks of equal size.
int64_t block_rows(int64_t rows, int64_t k) {
  const int64_t fit = std::clamp(kBlockBytes / std::max<int64_t>(k, 1), kRowStep, int64_t{kInt4MaxRows});
  const int64_t blocks = std::max<int64_t>(1, (rows + fit - 1) / fit);
  return std::min({rows, fit, round_up(ceil_div(rows, blocks), kRowStep)});
}

// Activations in the form that the kernel reads, block of rows by block of rows.
struct Int4Activations {
  int64_t rows, k, padded_k, group_size, groups, block;
  int term_factor;
  struct Bytes;
  struct Terms;
  struct Rows;
  int8_t* bytes;
  int32_t* terms;
  float *scales, *zeros;

  Int4Activations(int64_t rows_, const PackedInt4Linear& w)
      : rows(rows_),
        k(w.in_features()),
        padded_k(w.padded_k()),
        group_size(w.group_size()),
        groups(w.groups()),
        block(block_rows(rows, padded_k)),
        term_factor(w.has_zeros() ? -1 : -8),
        bytes(scratch<Bytes, int8_t>(rows * groups * group_size)),
        terms(scratch<Terms, int32_t>(rows * groups)),
        scales(scratch<Rows, float>(2 * rows)),
        zeros(scales + rows) {}

  int64_t rows_at(int64_t first) const { return std::min(block, rows - first); }
  int8_t* bytes_at(int64_t first) const { return bytes + first * groups * group_size; }
  int32_t* terms_at(int64_t first) const { return terms + first * groups; }
  float* scales_at(int64_t first) const { return scales + first; }
  float* zeros_at(int64_t first) const { return zeros + first; }

  // Quantizes one row over its own range.
  void take(const KernelTable& table, int64_t row, const float* x) const {
    const DynamicParams q = dynamic_params_of("linear_int4: input", x, k, false);
    const int32_t z = q.zero_point;
    const int64_t first = row / block * block, n = rows_at(first), at = row - first;
    scales_at(row)[0] = q.scale;
    zeros_at(row)[0] = static_cast<float>(z - 128);
    for (int64_t g = 0; g < groups; ++g) {
      int8_t* to = bytes_at(first) + (g * n + at) * group_size;
      const int64_t size = std::min(group_size, k - g * group_size);
      const int32_t sum = table.quantize_sum(x + g * group_size, size, q.scale, z - 128, static_cast<float>(-z),
                                             static_cast<float>(255 - z), to);
      std::memset(to + size, 0, round_up(size, kInt4Chunk) - size);
      terms_at(first)[g * n + at] = term_factor * sum;
    }
  }
};

}  // namespace

void linear_int4(const FloatView& x, const PackedInt4Linear& packed, bool relu, float* out) {
  const FloatRows input(x);
  const int64_t rows = input.rows, k = input.k, columns = packed.out_features();
  if (rows == 0 || columns == 0) return;
  const KernelTable& table = kernel_table();
  const Int4Activations a(rows, packed);
  const int threads = threads_for(rows * columns * std::max<int64_t>(k, 1), kSerialWork);
  const int64_t few = threads == 1 ? rows : std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(k, 1));
  parallel_for((rows + few - 1) / few, [&](int64_t task) {
    for (int64_t row = task * few; row < std::min(rows, (task + 1) * few); ++row)
      a.take(table, row, input.values + row * k);
  });

  const StoragePtr panels = packed.panels(table);
  const int64_t panel = 2 * table.tile.lanes, blocks = ceil_div(rows, a.block);
  const PanelChunks cut(ceil_div(columns, panel), blocks, threads);
  parallel_for(blocks * cut.chunks, [&](int64_t task) {
    const int64_t first = task / cut.chunks * a.block, at = task % cut.chunks * cut.panels, j = at * panel;
    table.int4_gemm({.a = a.bytes_at(first),
                     .terms = a.terms_at(first),
                     .a_scale = a.scales_at(first),
                     .a_zero = a.zeros_at(first),
                     .rows = a.rows_at(first),
                     .w = panels.get() + at * packed.panel_bytes(table),
                     .zeros = packed.has_zeros(),
                     .k = a.padded_k,
                     .group_size = a.group_size,
                     .ones = packed.ones().data() + j,
                     .bias = packed.bias().empty() ? nullptr : packed.bias().data() + j,
                     .columns = std::min(cut.panels * panel, columns - j),
                     .relu = relu,
                     .out = out + first * columns + j,
                     .ldo = columns});
  });
}

}  // namespace ops
}  // namespace octensor
