#include "ops/weight_only.h"

#include <algorithm>
#include <cstring>

#include "core/threads.h"
#include "isa/dispatch.h"
#include "ops/float_rows.h"

namespace octensor {

int64_t PackedWeightOnly::panel_bytes(const KernelTable& table) const {
  const int64_t k = in_features(), groups = (k + kWeightOnlyGroup - 1) / kWeightOnlyGroup;
  return 2 * table.tile.lanes * ((has_zeros() ? 8 : 4) * groups + k);
}

StoragePtr PackedWeightOnly::panels(const KernelTable& table) const {
  return cache_->get(table, [&] {
    const WeightMatrix& m = linear_.matrix();
    const int64_t panel = 2 * table.tile.lanes, panels = (m.columns + panel - 1) / panel;
    const StoragePtr storage = allocate(panels * panel_bytes(table));
    std::memset(storage.get(), 0, panels * panel_bytes(table));
    for (int64_t c = 0; c < m.columns; ++c) {
      uint8_t* block = storage.get() + c / panel * panel_bytes(table);
      for (int64_t first = 0; first < m.k; first += kWeightOnlyGroup) {
        std::memcpy(block + c % panel * 4, &m.scales[c], sizeof(float));
        block += 4 * panel;
        if (has_zeros()) {
          std::memcpy(block + c % panel * 4, &m.zero_points[c], sizeof(int32_t));
          block += 4 * panel;
        }
        const int64_t size = std::min<int64_t>(kWeightOnlyGroup, m.k - first);
        for (int64_t k = 0; k < size; ++k)
          block[k * panel + c % panel] = static_cast<uint8_t>(m.values[c * m.k + first + k]);
        block += size * panel;
      }
    }
    return storage;
  });
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
  const StoragePtr panels = packed.panels(table);
  const int64_t panel = 2 * table.tile.lanes, panel_count = (columns + panel - 1) / panel;
  const int64_t block = std::min<int64_t>(rows, kInt4MaxRows), blocks = (rows + block - 1) / block;
  const int threads = rows * columns * std::max<int64_t>(x.k, 1) < kSerialWork ? 1 : num_threads();
  const int64_t wanted = threads == 1 ? 1 : (4 * threads + blocks - 1) / blocks;
  const int64_t chunk = (panel_count + wanted - 1) / wanted, chunks = (panel_count + chunk - 1) / chunk;
  parallel_for(blocks * chunks, [&](int64_t task) {
    const int64_t first = task / chunks * block, at = task % chunks * chunk, j = at * panel;
    table.weight_only({.x = x.values + first * x.k,
                       .rows = std::min(block, rows - first),
                       .ldx = x.k,
                       .w = panels.get() + at * packed.panel_bytes(table),
                       .nibbles = nibbles,
                       .zeros = packed.has_zeros(),
                       .k = x.k,
                       .group_size = group_size,
                       .bias = packed.bias().empty() ? nullptr : packed.bias().data() + j,
                       .columns = std::min(chunk * panel, columns - j),
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
