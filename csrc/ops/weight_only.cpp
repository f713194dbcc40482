#include "ops/weight_only.h"

#include <algorithm>
#include <cstring>

#include "isa/dispatch.h"
#include "ops/float_rows.h"
#include "ops/tasks.h"

namespace octensor {

namespace {

// Bytes of one panel.
int64_t line_bytes(const WeightMatrix& m, const KernelTable& table) {
  return 2 * table.tile.lanes * ((m.asymmetric ? 8 : 4) * ceil_div(m.k, int64_t{kWeightOnlyGroup}) + m.k);
}

// Block by block of K the scales (and zero points) of a panel's columns, then their codes, k by k.
std::shared_ptr<const uint8_t[]> pack_lines(const PackedLinear& linear, const KernelTable& table) {
  const WeightMatrix& m = linear.matrix();
  const WeightCodes codes = linear.codes();
  const int64_t panel = 2 * table.tile.lanes, bytes = ceil_div(m.columns, panel) * line_bytes(m, table);
  StoragePtr storage = allocate(bytes);
  std::memset(storage.get(), 0, bytes);
  for (int64_t c = 0; c < m.columns; ++c) {
    uint8_t* block = storage.get() + c / panel * line_bytes(m, table);
    for (int64_t first = 0; first < m.k; first += kWeightOnlyGroup) {
      std::memcpy(block + c % panel * 4, &m.scales[c], sizeof(float));
      block += 4 * panel;
      if (m.asymmetric) {
        std::memcpy(block + c % panel * 4, &m.zero_points[c], sizeof(int32_t));
        block += 4 * panel;
      }
      const int64_t size = std::min<int64_t>(kWeightOnlyGroup, m.k - first);
      for (int64_t k = 0; k < size; ++k)
        block[k * panel + c % panel] = static_cast<uint8_t>(codes[c * m.k + first + k]);
      block += size * panel;
    }
  }
  return storage.bytes;
}

}  // namespace

int64_t PackedWeightOnly::panel_bytes(const KernelTable& table) const { return line_bytes(linear_.matrix(), table); }

std::shared_ptr<const uint8_t[]> PackedWeightOnly::panels(const KernelTable& table) const {
  return linear_.form(table, pack_lines);
}

namespace ops {
namespace {

constexpr int64_t kSerialWork = 1 << 15;  // multiply-adds below which waking a thread costs more

template <class Packed>
void run(const FloatView& view, const Packed& packed, bool nibbles, int64_t group_size, bool relu, float* out) {
  const FloatRows x(view);
  const int64_t columns = packed.out_features(), rows = x.rows;
  if (rows == 0 || columns == 0) return;
  const KernelTable& table = kernel_table();
  const auto panels = packed.panels(table);
  const int64_t panel = 2 * table.tile.lanes;
  const int64_t block = std::min<int64_t>(rows, kInt4MaxRows), blocks = ceil_div(rows, block);
  const int threads = threads_for(rows * columns * std::max<int64_t>(x.k, 1), kSerialWork);
  const PanelChunks cut(ceil_div(columns, panel), blocks, threads);
  parallel_for(blocks * cut.chunks, [&](int64_t task) {
    const int64_t first = task / cut.chunks * block, at = task % cut.chunks * cut.panels, j = at * panel;
    table.weight_only({.x = x.values + first * x.k,
                       .rows = std::min(block, rows - first),
                       .ldx = x.k,
                       .w = panels.get() + at * packed.panel_bytes(table),
                       .nibbles = nibbles,
                       .zeros = packed.has_zeros(),
                       .k = x.k,
                       .group_size = group_size,
                       .bias = packed.bias().empty() ? nullptr : packed.bias().data() + j,
                       .columns = std::min(cut.panels * panel, columns - j),
                       .relu = relu,
                       .out = out + first * columns + j,
                       .ldo = columns});
  });
}

}  // namespace

void linear_weight_only(const FloatView& x, const PackedWeightOnly& packed, bool relu, float* out) {
  run(x, packed, false, kWeightOnlyGroup, relu, out);
}

void linear_weight_only(const FloatView& x, const PackedInt4Linear& packed, bool relu, float* out) {
  run(x, packed, true, packed.group_size(), relu, out);
}

}  // namespace ops
}  // namespace octensor
