#include "ops/conv_choice.h"

#include <algorithm>
#include <atomic>

#include "core/check.h"
#include "core/integers.h"

namespace octensor::ops {
namespace {

constexpr const char* kNames[] = {"direct", "winograd2", "winograd4"};
constexpr int kAuto = -1;
std::atomic<int> preferred{kAuto};

// Costs are counted in multiply-adds of the 16-bit register tile, the unit of Winograd's products: only their ratios
// matter. Measured on AVX2 and AVX-512 VNNI.
constexpr double kDirectOutput = 1000;  // a direct convolution's patch, per output position
constexpr int64_t kCached = 4 << 20;    // weights up to this size wait in a cache ...
constexpr double kFetched = 6;          // ... each byte beyond costs its way from memory
constexpr double kKept = 2;             // what a byte less in memory, for as long as the model lives, is worth
constexpr int64_t kFullTiles = 4;       // fewer rows leave the register tile's multipliers idle

struct Transform {
  int64_t out, products;  // outputs per tile and axis, products per tile
  double input, output;   // transforms per tile and input channel; per tile, output channel and part
};
constexpr Transform kTile2{2, 16, 70, 132}, kTile4{4, 36, 205, 440};

double weights_cost(double bytes) { return kKept * bytes + kFetched * std::max(0.0, bytes - double{kCached}); }

double winograd_cost(const ConvWork& w, const KernelTable& table, const Transform& t, int parts) {
  const int64_t tiles = w.images * (round_up(w.height, t.out) / t.out) * (round_up(w.width, t.out) / t.out);
  const double in = double(round_up(w.in, table.winograd4.vector)), out = double(round_up(w.out, table.tile.lanes));
  const double products = double(t.products) * double(w.in) * out;
  return double(std::max(tiles, kFullTiles)) * products + double(tiles) * (t.input * in + t.output * parts * out) +
         weights_cost(2 * products);
}

// A multiply instruction takes `per_multiply` multiply-adds per lane where Winograd's takes `winograd4.group`; of the
// mixed GEMM (kernels/mixed_tile.h) most groups are twins.
double direct_cost(const ConvWork& w, const KernelTable& table) {
  const double per_multiply = table.tile.mixed_block ? table.tile.group / 1.65 : table.tile.group;
  const double products = 9 * double(w.in) * double(w.out);
  return double(w.images) * double(w.height * w.width) *
             (1.1 * products * table.winograd4.group / per_multiply + kDirectOutput) +
         weights_cost(products);
}

}  // namespace

std::string name_of(const ConvChoice& choice) {
  const std::string name = kNames[static_cast<int>(choice.algorithm)];
  return choice.parts > 1 ? text(name, "/", choice.parts) : name;
}

ConvChoice choose_conv(const ConvWork& w, const KernelTable& table) {
  const int forced = preferred.load(std::memory_order_relaxed);
  const bool free = forced == kAuto;
  ConvChoice best{ConvAlgorithm::direct, 1};
  double least = direct_cost(w, table);
  const auto consider = [&](ConvAlgorithm algorithm, const Transform& t, int parts) {
    if (!w.winograd || parts == 0 || !(free || forced == static_cast<int>(algorithm))) return;
    const double cost = winograd_cost(w, table, t, parts);
    if (free && cost >= least) return;
    best = {algorithm, parts};
    least = cost;
  };
  consider(ConvAlgorithm::winograd2, kTile2, w.parts2);
  consider(ConvAlgorithm::winograd4, kTile4, w.parts4);
  return best;
}

void set_conv_algorithm(const std::string& name) {
  int found = name == "auto" ? kAuto : -2;
  for (int i = 0; i < 3; ++i)
    if (name == kNames[i]) found = i;
  check(found >= kAuto, "set_conv_algorithm: name: expected auto, direct, winograd2 or winograd4, got '", name, "'");
  preferred.store(found, std::memory_order_relaxed);
}

}  // namespace octensor::ops
