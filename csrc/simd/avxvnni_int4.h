// 4-bit weights on AVX-VNNI. vpdpbusd takes as many multiply-adds per instruction as AVX2's vpmaddubsw and needs no
// addition beside it and no draining. Everything else is AVX2's. The contract of each operation is in simd/int4.h.
#pragma once
#include "simd/avx2_int4.h"
#include "simd/avxvnni.h"

namespace octensor::simd {

template <>
struct Int4<AvxVnni> : Int4<Avx2> {
  static constexpr int kRows = 6;
  static constexpr bool kDrains = false;
  using Sum = AvxVnni::I32;

  static Sum first(Bytes w, Bytes a) { return step(AvxVnni::set(0), w, a); }
  static Sum step(Sum sum, Bytes w, Bytes a) { return AvxVnni::Bytes::dot(sum, w, a); }
  static I32 drain(I32 acc, Sum sum) { return AvxVnni::add(acc, sum); }
};

}  // namespace octensor::simd
