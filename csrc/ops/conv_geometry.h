// Everything about one call of a convolution that its algorithms share; `w` is an ordinary one (upsample is 1). Offsets
// are in bytes: codes are 8-bit.
#pragma once
#include "ops/packed.h"

namespace octensor::ops {

struct Geometry {
  const PackedConv& w;
  const uint8_t* x;
  int64_t batch, channels;
  Triple size, out_size;
  int64_t image_stride;
  Triple stride;  // of the input's memory; channels are adjacent
  bool is_signed;
  int32_t zero_point;

  // Where output o's tap t reads along an axis; -1 where that is real 0.
  int64_t source(int axis, int64_t o, int64_t t) const {
    const int64_t at = o * w.step[axis] - w.lead[axis] + t * w.reach[axis];
    return at >= 0 && at < size[axis] ? at : -1;
  }
};

}  // namespace octensor::ops
