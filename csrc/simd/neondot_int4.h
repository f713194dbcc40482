// 4-bit weights on NEON with the dot-product extension: sdot, to which a nibble is a signed byte. Everything else is
// NEON's. The contract of each operation is in simd/int4.h.
#pragma once
#include "simd/neon_int4.h"
#include "simd/neondot.h"

namespace octensor::simd {

template <>
struct Int4<NeonDot> : Int4<Neon> {
  static constexpr int kRows = 6;
  static constexpr bool kDrains = false;
  using Sum = NeonDot::I32;

  static Sum first(Bytes w, Bytes a) { return step(NeonDot::set(0), w, a); }
  static Sum step(Sum sum, Bytes w, Bytes a) { return NeonDot::Bytes::dot(sum, w, a); }
  static I32 drain(I32 acc, Sum sum) { return NeonDot::add(acc, sum); }
};

}  // namespace octensor::simd
