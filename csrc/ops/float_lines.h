// Lines of outputs whose windows are reduced tap by tap (kernels/float_taps.h): a line is cut where windows reach over
// the input's sides; between, all taps advance alike.
#pragma once
#include <algorithm>
#include <array>

#include "core/scratch.h"
#include "ops/tasks.h"

namespace octensor::ops {

struct FloatLines {
  using Triple = std::array<int64_t, 3>;
  const float* x;  // [image][size][channels]
  Triple size;
  int64_t channels;
  Triple kernel, step, lead, reach, out_size;

  // stretch(taps, first, pixels) for runs of output pixels that make up the line: taps[t] is the place of tap t's
  // channels for the first of them. Taps outside the input read zeros.
  template <class Stretch>
  void stretches(int64_t line, const Stretch& stretch) const {
    struct Taps;
    struct Zeros;
    const int64_t last = size[2] + lead[2] - (kernel[2] - 1) * reach[2];  // o * step below it is inside
    const int64_t inside = std::clamp<int64_t>(lead[2] > 0 ? ceil_div(lead[2], step[2]) : 0, 0, out_size[2]);
    const int64_t beyond = std::clamp<int64_t>(last > 0 ? ceil_div(last, step[2]) : 0, inside, out_size[2]);
    const auto** taps = scratch<Taps, const float*>(kernel[0] * kernel[1] * kernel[2]);
    const int64_t reached = ((beyond > inside ? beyond - inside : 1) * step[2] + 1) * channels;
    float* const zeros = scratch<Zeros, float>(reached);
    std::fill_n(zeros, reached, 0.0f);
    for (int64_t o = 0; o < out_size[2];) {
      const int64_t n = o == inside && beyond > inside ? beyond - inside : 1;
      place(line, o, zeros, taps);
      stretch(taps, o, n);
      o += n;
    }
  }

 private:
  void place(int64_t line, int64_t o2, const float* zeros, const float** taps) const {
    const int64_t o1 = line % out_size[1], o0 = line / out_size[1] % out_size[0];
    const float* image = x + line / out_size[1] / out_size[0] * size[0] * size[1] * size[2] * channels;
    for (int64_t t0 = 0; t0 < kernel[0]; ++t0)
      for (int64_t t1 = 0; t1 < kernel[1]; ++t1)
        for (int64_t t2 = 0; t2 < kernel[2]; ++t2) {
          const int64_t i0 = o0 * step[0] - lead[0] + t0 * reach[0], i1 = o1 * step[1] - lead[1] + t1 * reach[1];
          const int64_t i2 = o2 * step[2] - lead[2] + t2 * reach[2];
          const bool in = i0 >= 0 && i0 < size[0] && i1 >= 0 && i1 < size[1] && i2 >= 0 && i2 < size[2];
          *taps++ = in ? image + ((i0 * size[1] + i1) * size[2] + i2) * channels : zeros;
        }
  }
};

}  // namespace octensor::ops
