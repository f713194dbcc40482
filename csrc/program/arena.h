// Where buffers lie in one block of memory, so that those that live at the same time do not overlap.
#pragma once
#include <cstdint>
#include <vector>

namespace octensor::program {

struct Lifetime {
  int64_t bytes;
  int first, last;  // steps, both included
};

struct Arena {
  std::vector<int64_t> offsets;  // one per buffer
  int64_t peak = 0;              // bytes of the block
  int64_t live = 0;              // the largest set of buffers alive at one step: no plan needs less
};

Arena plan_arena(std::vector<Lifetime> buffers);

}  // namespace octensor::program
