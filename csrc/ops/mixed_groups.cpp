// Twins save a multiplication, so as many as possible are wanted. Each group takes the next one that fits: ordinary
// weights leave few without a twin, and the tile then reads weights and activations nearly in their order, which
// hardware fetches ahead.
#include "ops/mixed_groups.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <cstring>

namespace octensor {
namespace {

constexpr int kGroups = 256;  // at most, of a block
constexpr int kPairs = 32;    // of (k0, k1) and of (k2, k3), per column of a panel

// Each pair's load less the 2 that it has at least, at most 254.
using Loads = std::array<uint8_t, kPairs>;

Loads loads_of(const int8_t* group) {
  const auto load = [](int w) { return std::max(w + 1, -w); };
  Loads loads;
  for (int i = 0; i < kPairs; ++i) loads[i] = static_cast<uint8_t>(load(group[2 * i]) + load(group[2 * i + 1]) - 2);
  return loads;
}

// Whether all loads sum to at most 256, 252 of what is kept: eight means at a time, rounded up, are at most 126.
bool fit(const Loads& x, const Loads& y) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  for (int i = 0; i < kPairs; i += 8) {
    uint64_t a, b;
    std::memcpy(&a, &x[i], 8);
    std::memcpy(&b, &y[i], 8);
    const uint64_t mean = (a | b) - (((a ^ b) >> 1) & (0x7F * kOnes));
    if ((mean + kOnes) & (0x80 * kOnes)) return false;
  }
  return true;
}

// The n groups of a block in their order; returns how many of them are twins.
int order_block(const int8_t* weights, int64_t step, int n, uint8_t* order) {
  std::array<Loads, kGroups> loads;
  for (int q = 0; q < n; ++q) loads[q] = loads_of(weights + q * step);
  std::bitset<kGroups> taken;
  int twins = 0;
  for (int q = 0; q < n; ++q) {
    int twin = q + 1;
    while (twin < n && (taken[twin] || !fit(loads[q], loads[twin]))) ++twin;
    if (taken[q] || twin >= n) continue;
    for (int each : {q, twin}) {
      taken[each] = true;
      order[twins++] = static_cast<uint8_t>(each);
    }
  }
  for (int q = 0, at = twins; q < n; ++q)
    if (!taken[q]) order[at++] = static_cast<uint8_t>(q);
  return twins;
}

}  // namespace

void order_groups(const GemmTile& tile, int64_t panels, int64_t k_groups, PackedPanels& packed) {
  const int64_t step = int64_t{tile.panel} * tile.group;
  packed.order.reserve(panels * k_groups);
  std::array<uint8_t, kGroups> order;
  for (int64_t panel = 0; panel < panels; ++panel)
    for (int64_t k = 0; k < k_groups; k += tile.mixed_block) {
      const int n = static_cast<int>(std::min<int64_t>(tile.mixed_block, k_groups - k));
      const auto* weights = reinterpret_cast<const int8_t*>(packed.values.get()) + (panel * k_groups + k) * step;
      packed.twins.push_back(static_cast<uint16_t>(order_block(weights, step, n, order.data())));
      for (int i = 0; i < n; ++i) packed.order.push_back(static_cast<uint16_t>(8 * order[i]));
    }
}

}  // namespace octensor
