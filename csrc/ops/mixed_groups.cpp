// Plain twins are the fastest kind, so as many as possible are wanted: of the groups that can be plain, the one with
// the largest weights chooses first, and takes the largest with which it fits. The same for twins among the flipped
// ones.
#include "ops/mixed_groups.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/integers.h"

namespace octensor {
namespace {

constexpr int kGroups = 256;                   // at most, of a block
constexpr int kColumns = 8, kGroup = 4;        // of a panel; of K
constexpr int kPairs = kColumns * kGroup / 2;  // (k0, k1) and (k2, k3) of each column
constexpr int kStep = kColumns * kGroup;

// How much of int16 each pair may fill, in parts of which kRoom fill it: a group may be a single where no load exceeds
// that, two groups twins where no sum of two loads does.
constexpr int kRoom = 128;
using Loads = std::array<uint8_t, 2 * kPairs>;

// Codes as they are: the sum of a pair's positive weights, and the magnitudes of its negative ones (256: as 255).
Loads plain_loads(const int8_t* group) {
  Loads loads;
  for (int i = 0; i < kPairs; ++i) {
    const int x = group[2 * i], y = group[2 * i + 1];
    loads[i] = static_cast<uint8_t>(std::max(x, 0) + std::max(y, 0));
    loads[kPairs + i] = static_cast<uint8_t>(std::min(-std::min(x, 0) - std::min(y, 0), 255));
  }
  return loads;
}

// Signs taken off: half of a pair's magnitudes, rounded up, which never exceeds the room.
Loads flipped_loads(const int8_t* group) {
  Loads loads{};
  for (int i = 0; i < kPairs; ++i)
    loads[i] = static_cast<uint8_t>((std::abs(group[2 * i]) + std::abs(group[2 * i + 1]) + 1) / 2);
  return loads;
}

// Whether no sum of two loads exceeds the room: eight means at a time, rounded up, are at most half of it.
bool fit(const Loads& x, const Loads& y) {
  constexpr uint64_t kOnes = 0x0101010101010101, kRest = 0x7F - kRoom / 2;
  for (size_t i = 0; i < x.size(); i += 8) {
    uint64_t a, b;
    std::memcpy(&a, &x[i], 8);
    std::memcpy(&b, &y[i], 8);
    const uint64_t mean = (a | b) - (((a ^ b) >> 1) & (0x7F * kOnes));
    if (((mean | ((mean & (0x7F * kOnes)) + kRest * kOnes)) & (0x80 * kOnes)) != 0) return false;
  }
  return true;
}

// The groups of a block in their order.
struct Order {
  std::array<uint8_t, kGroups> groups;
  int count = 0;

  // Of n candidates, whose loads fit into the room, takes those that find a twin; leaves the others in their order.
  // Returns how many are left.
  int take_twins(const std::array<Loads, kGroups>& loads, uint8_t* candidates, int n) {
    std::array<uint8_t, kGroups> largest, by_load;
    for (int i = 0; i < n; ++i) largest[candidates[i]] = *std::ranges::max_element(loads[candidates[i]]);
    std::copy_n(candidates, n, by_load.begin());
    std::stable_sort(by_load.begin(), by_load.begin() + n, [&](int x, int y) { return largest[x] > largest[y]; });
    std::array<bool, kGroups> taken{};
    for (int i = 0; i < n; ++i) {
      const int q = by_load[i];
      if (taken[q]) continue;
      const auto* twin = std::find_if(by_load.data() + i + 1, by_load.data() + n,
                                      [&](int r) { return !taken[r] && fit(loads[q], loads[r]); });
      if (twin == by_load.data() + n) continue;
      taken[q] = taken[*twin] = true;
      groups[count++] = static_cast<uint8_t>(q);
      groups[count++] = *twin;
    }
    return static_cast<int>(std::remove_if(candidates, candidates + n, [&](int q) { return taken[q]; }) - candidates);
  }
  void take(const uint8_t* rest, int n) {
    for (int i = 0; i < n; ++i) groups[count++] = rest[i];
  }
};

// Appends a block's n groups to the lists; returns where its plain groups end.
int order_block(const int8_t* weights, int n, PackedPanels& packed, Order& order) {
  std::array<Loads, kGroups> loads;
  std::array<uint8_t, kGroups> plain, flipped;
  int plain_count = 0, flipped_count = 0;
  for (int q = 0; q < n; ++q) {
    loads[q] = plain_loads(weights + q * kStep);
    const bool fits = *std::ranges::max_element(loads[q]) <= kRoom;
    if (!fits) loads[q] = flipped_loads(weights + q * kStep);
    (fits ? plain[plain_count++] : flipped[flipped_count++]) = static_cast<uint8_t>(q);
  }
  order.count = 0;
  const int singles = order.take_twins(loads, plain.data(), plain_count), twins = order.count;
  order.take(plain.data(), singles);
  const int rest = order.take_twins(loads, flipped.data(), flipped_count), flipped_twins = order.count;
  order.take(flipped.data(), rest);
  for (int i = 0; i < n; ++i) packed.order.push_back(static_cast<uint16_t>(kStep * order.groups[i]));
  for (int end : {twins, plain_count, flipped_twins}) packed.ends.push_back(static_cast<uint16_t>(end));
  return plain_count;
}

}  // namespace

void order_groups(const GemmTile& tile, const WeightMatrix& m, int64_t k_groups, PackedPanels& packed) {
  const int64_t panels = ceil_div(m.columns, int64_t{kColumns});
  const auto* values = reinterpret_cast<const int8_t*>(packed.values.get());
  packed.flipped_sums.assign(m.groups * m.columns + kEpiloguePadding, 0);
  packed.order.reserve(m.groups * panels * k_groups);
  Order order;
  for (int64_t panel = 0; panel < m.groups * panels; ++panel) {
    const int64_t first = panel % panels * kColumns, columns = std::min<int64_t>(kColumns, m.columns - first);
    int32_t* sums = packed.flipped_sums.data() + panel / panels * m.columns + first;
    for (int64_t k = 0; k < k_groups; k += tile.mixed_block) {
      const int8_t* block = values + (panel * k_groups + k) * kStep;
      const int n = static_cast<int>(std::min<int64_t>(tile.mixed_block, k_groups - k));
      for (int i = order_block(block, n, packed, order); i < n; ++i)
        for (int64_t at = 0; at < columns * kGroup; ++at) {
          const int w = block[order.groups[i] * kStep + at];
          sums[at / kGroup] += 128 * w + std::max(-w, 0);
        }
    }
  }
}

}  // namespace octensor
