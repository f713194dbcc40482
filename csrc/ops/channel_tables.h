// Codes through a table for each channel. Bound: a load of the table per code.
#pragma once
#include <cstdint>

namespace octensor::ops {

// x and out [rows][channels][inner], tables [channels][256]; out may be x.
void lookup_channels_into(const uint8_t* x, int64_t rows, int64_t channels, int64_t inner, const uint8_t* tables,
                          uint8_t* out);

}  // namespace octensor::ops
