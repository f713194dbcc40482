// One recurrent layer in one direction over whole sequences, with quantized weights and float states.
#pragma once
#include <vector>

#include "kernels/recurrent_cell.h"
#include "ops/packed.h"

namespace octensor::ops {

struct Recurrence {
  RecurrentCell cell;
  const PackedWeight& input;   // [gates * hidden, inputs]
  const PackedWeight& hidden;  // [gates * hidden, hidden]
  bool reduce_range;
};

int64_t gates_of(RecurrentCell cell);

// x holds the rows of time 0, then those of time 1 ...: sizes[t] of them, never more than the time before. Backward in
// time, rows begin with their initial state where their sequence ends.
//   h [sizes[0]][hidden], and for an LSTM c  the state before, then the one after each sequence's last step
//   out  one row of `hidden` floats per row of x, out_stride apart; or null
// All of x is quantized with one range, the state of each step with its own. ValueError where either is not finite.
void recurrent(const Recurrence& layer, const float* x, const std::vector<int64_t>& sizes, bool backward, float* h,
               float* c, float* out, int64_t out_stride);

}  // namespace octensor::ops
