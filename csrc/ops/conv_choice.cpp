#include "ops/conv_choice.h"

#include <atomic>

#include "core/check.h"

namespace octensor::ops {
namespace {

constexpr const char* kNames[] = {"direct", "winograd2", "winograd4"};
constexpr int kAuto = -1;
std::atomic<int> preferred{kAuto};

// Costs are counted in multiply-adds of the 16-bit register tile, the unit that Winograd's products take. Measured
// with tests' and bench's shapes on AVX2 and AVX-512 VNNI; only ratios matter.
struct Transform {
  int64_t out, products;  // outputs per tile and axis, products per tile
  double input, output;   // per tile and input channel; per tile, output channel and part
};
constexpr Transform kTile2{2, 16, 80, 200}, kTile4{4, 36, 180, 480};

double winograd_cost(const ConvWork& w, const Transform& t, int parts) {
  const double tiles = double(w.images) * double((w.height + t.out - 1) / t.out * ((w.width + t.out - 1) / t.out));
  return tiles * (double(t.products) * double(w.in) * double(w.out) + t.input * double(w.in) +
                  t.output * parts * double(w.out));
}

// Products of bytes do twice the multiply-adds per instruction.
double direct_cost(const ConvWork& w, const GemmTile& tile) {
  return double(w.images) * double(w.height * w.width) * 9 * double(w.in) * double(w.out) /
         (tile.activation == 1 ? 2.0 : 1.0);
}

}  // namespace

std::string name_of(const ConvChoice& choice) {
  const std::string name = kNames[static_cast<int>(choice.algorithm)];
  return choice.parts > 1 ? text(name, "/", choice.parts) : name;
}

ConvChoice choose_conv(const ConvWork& w, const GemmTile& tile) {
  const int forced = preferred.load(std::memory_order_relaxed);
  const bool free = forced == kAuto;
  ConvChoice best{ConvAlgorithm::direct, 1};
  double least = direct_cost(w, tile);
  const auto consider = [&](ConvAlgorithm algorithm, const Transform& t, int parts) {
    if (!w.winograd || parts == 0 || !(free || forced == static_cast<int>(algorithm))) return;
    const double cost = winograd_cost(w, t, parts);
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
