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

// How much of int16 each pair may fill; two groups are twins where no sum of two loads exceeds a limit.
using Loads = std::array<uint8_t, 2 * kPairs>;

struct Form {
  Loads (*loads)(const int8_t* group);
  uint8_t limit;
  int twin, single, split;  // tenths of cycles per group, four rows and a panel, as measured; 0: there are none
};

// Magnitudes and signs: each pair's load less the 2 that it has at least, at most 254; so 252 of 256 are left for two
// pairs. Any group is a single.
Loads flipped_loads(const int8_t* group) {
  const auto load = [](int w) { return std::max(w + 1, -w); };
  Loads loads{};
  for (int i = 0; i < kPairs; ++i) loads[i] = static_cast<uint8_t>(load(group[2 * i]) + load(group[2 * i + 1]) - 2);
  return loads;
}

// Codes as they are: what a pair's positive weights sum to, and the magnitudes of its negative ones.
Loads plain_loads(const int8_t* group) {
  Loads loads;
  for (int i = 0; i < kPairs; ++i) {
    const int x = group[2 * i], y = group[2 * i + 1];
    loads[i] = static_cast<uint8_t>(std::max(x, 0) + std::max(y, 0));
    loads[kPairs + i] = static_cast<uint8_t>(std::min(-std::min(x, 0) - std::min(y, 0), 255));
  }
  return loads;
}

constexpr Form kFlipped{flipped_loads, 252, 87, 98, 0};
constexpr Form kPlain{plain_loads, 128, 66, 85, 170};

// Whether no sum of two loads exceeds an even limit: eight means at a time, rounded up, are at most half of it.
bool fit(const Loads& x, const Loads& y, uint8_t limit) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  const uint64_t room = (0x7F - limit / 2) * kOnes;
  for (size_t i = 0; i < x.size(); i += 8) {
    uint64_t a, b;
    std::memcpy(&a, &x[i], 8);
    std::memcpy(&b, &y[i], 8);
    const uint64_t mean = (a | b) - (((a ^ b) >> 1) & (0x7F * kOnes));
    if (((mean | ((mean & (0x7F * kOnes)) + room)) & (0x80 * kOnes)) != 0) return false;
  }
  return true;
}

struct Order {
  std::array<uint8_t, kGroups> groups;
  int twins = 0, singles = 0;  // where they end
};

// The n groups of a block in their order.
Order order_block(const Form& form, const int8_t* weights, int64_t step, int n) {
  std::array<Loads, kGroups> loads;
  std::bitset<kGroups> taken, split;
  for (int q = 0; q < n; ++q) {
    loads[q] = form.loads(weights + q * step);
    split[q] = form.split && *std::ranges::max_element(loads[q]) > form.limit;
  }
  Order order;
  for (int q = 0; q < n; ++q) {
    if (taken[q] || split[q]) continue;
    int twin = q + 1;
    while (twin < n && (taken[twin] || !fit(loads[q], loads[twin], form.limit))) ++twin;
    if (twin >= n) continue;
    for (int each : {q, twin}) {
      taken[each] = true;
      order.groups[order.twins++] = static_cast<uint8_t>(each);
    }
  }
  order.singles = order.twins;
  for (int q = 0; q < n; ++q)
    if (!taken[q] && !split[q]) order.groups[order.singles++] = static_cast<uint8_t>(q);
  for (int q = 0, at = order.singles; q < n; ++q)
    if (split[q]) order.groups[at++] = static_cast<uint8_t>(q);
  return order;
}

struct Listed {
  std::vector<uint16_t> order, ends;
  int64_t cycles = 0;
};

Listed list_groups(const Form& form, const GemmTile& tile, int64_t panels, int64_t k_groups, const int8_t* weights) {
  const int64_t step = int64_t{tile.panel} * tile.group;
  Listed listed;
  listed.order.reserve(panels * k_groups);
  for (int64_t panel = 0; panel < panels; ++panel)
    for (int64_t k = 0; k < k_groups; k += tile.mixed_block) {
      const int n = static_cast<int>(std::min<int64_t>(tile.mixed_block, k_groups - k));
      const Order order = order_block(form, weights + (panel * k_groups + k) * step, step, n);
      for (int i = 0; i < n; ++i) listed.order.push_back(static_cast<uint16_t>(8 * order.groups[i]));
      for (int end : {order.twins, order.singles}) listed.ends.push_back(static_cast<uint16_t>(end));
      listed.cycles += int64_t{form.twin} * order.twins + int64_t{form.single} * (order.singles - order.twins) +
                       int64_t{form.split} * (n - order.singles);
    }
  return listed;
}

}  // namespace

void order_groups(const GemmTile& tile, int64_t panels, int64_t k_groups, bool may_be_plain, PackedPanels& packed) {
  const auto* weights = reinterpret_cast<const int8_t*>(packed.values.get());
  Listed best = list_groups(kFlipped, tile, panels, k_groups, weights);
  if (may_be_plain) {
    Listed plain = list_groups(kPlain, tile, panels, k_groups, weights);
    packed.plain = plain.cycles < best.cycles;
    if (packed.plain) best = std::move(plain);
  }
  packed.order = std::move(best.order);
  packed.ends = std::move(best.ends);
}

}  // namespace octensor
