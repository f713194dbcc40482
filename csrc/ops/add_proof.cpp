#include "ops/add_proof.h"

#include <array>
#include <cmath>
#include <cstring>

namespace octensor::ops {
namespace {

constexpr int64_t kWorthwhile = 1 << 17;  // elements
constexpr int kKept = 64;

struct Entry {
  const KernelTable* table;
  int32_t zeros[3];
  float scales[3], bounds[2];
  bool is_signed[2];
  int64_t elements;
  bool tried, multiply;

  bool is_of(const KernelTable& t, const BinaryArgs& p) const {
    return table == &t && zeros[0] == p.a_zero && zeros[1] == p.b_zero && zeros[2] == p.out_zero &&
           scales[0] == p.a_scale && scales[1] == p.b_scale && scales[2] == p.out_scale && bounds[0] == p.lo &&
           bounds[1] == p.hi && is_signed[0] == p.a_signed && is_signed[1] == p.b_signed;
  }
};

// Parameters with one hash take turns.
size_t place_of(const BinaryArgs& p) {
  uint32_t hash = static_cast<uint32_t>(p.a_zero * 31 + p.b_zero * 7 + p.out_zero);
  for (float scale : {p.a_scale, p.b_scale, p.out_scale}) {
    uint32_t bits;
    std::memcpy(&bits, &scale, sizeof bits);
    hash = (hash ^ bits) * 0x9E3779B1u;
  }
  return hash >> 26;
}
static_assert(kKept == 1 << 6);

// Whether one in 64 of some pairs of codes is next to a midpoint.
bool ties_are_frequent(const BinaryArgs& p) {
  constexpr int kStep = 17, kPairs = 256;
  const double ratio_a = double(p.a_scale) / p.out_scale, ratio_b = double(p.b_scale) / p.out_scale;
  int ties = 0;
  for (int x = 0; x < 256; x += kStep)
    for (int y = 0; y < 256; y += kStep) {
      const double d = (x - p.a_zero) * ratio_a + (y - p.b_zero) * ratio_b;
      ties += std::abs(d - std::floor(d) - 0.5) < 1e-4;
    }
  return ties >= kPairs / 64;
}

bool try_all(const KernelTable& table, BinaryArgs run) {
  std::array<uint8_t, 256> a, b, product, quotient;
  for (int i = 0; i < 256; ++i) b[i] = static_cast<uint8_t>(i);
  run.a = a.data();
  run.b = b.data();
  run.n = 256;
  for (int i = 0; i < 256; ++i) {
    a.fill(static_cast<uint8_t>(i));
    run.multiply = true;
    run.out = product.data();
    table.add(run);
    run.multiply = false;
    run.out = quotient.data();
    table.add(run);
    if (product != quotient) return false;
  }
  return true;
}

}  // namespace

bool add_by_product(const KernelTable& table, const BinaryArgs& p, int64_t n) {
  thread_local std::array<Entry, kKept> entries{};
  Entry& entry = entries[place_of(p)];
  if (!entry.is_of(table, p))
    entry = {.table = &table,
             .zeros = {p.a_zero, p.b_zero, p.out_zero},
             .scales = {p.a_scale, p.b_scale, p.out_scale},
             .bounds = {p.lo, p.hi},
             .is_signed = {p.a_signed, p.b_signed},
             .elements = 0,
             .tried = false,
             .multiply = false};
  entry.elements += n;
  if (!entry.tried && entry.elements >= kWorthwhile) {
    entry.tried = true;
    entry.multiply = ties_are_frequent(p) && try_all(table, p);
  }
  return entry.multiply;
}

}  // namespace octensor::ops
