// 4-bit weights on NEON with the 8-bit matrix multiply: as with the dot product. A tile's running sums are one row's
// columns (kernels/int4.h), for which sdot wastes nothing. The contract of each operation is in simd/int4.h.
#pragma once
#include "simd/neondot_int4.h"
#include "simd/neoni8mm.h"

namespace octensor::simd {

template <>
struct Int4<NeonI8mm> : Int4<NeonDot> {};

}  // namespace octensor::simd
