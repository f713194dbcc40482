// Values at indices that are computed: rows of bytes, each copied from where its index says.
//
// Indices count from the end where they are negative; one outside is an error before anything is written. Bound: the
// bytes moved.
#pragma once
#include <cstdint>

#include "core/qtensor.h"

namespace octensor::ops {

// data [outer][n][inner], out [outer][count][inner]: numpy.take. Sizes of `inner` in bytes.
void take_into(const uint8_t* data, int64_t outer, int64_t n, int64_t inner, const int64_t* indices, int64_t count,
               uint8_t* out);

// data [outer][n][inner], indices and out [outer][count][inner], of `itemsize` bytes: numpy.take_along_axis.
void take_along_into(const uint8_t* data, int64_t outer, int64_t n, int64_t inner, const int64_t* indices,
                     int64_t count, int64_t itemsize, uint8_t* out);

// The slices of data (its first axes have sizes `sizes`, what is left of it `inner` bytes) at tuples of as many
// indices.
void gather_nd_into(const uint8_t* data, const Shape& sizes, int64_t inner, const int64_t* indices, int64_t count,
                    uint8_t* out);

}  // namespace octensor::ops
