// A line of outputs is cut where its patches reach over the input's sides. Between, all patches are the same runs of
// codes, shifted: one kernel call for the whole stretch, a run per kernel row where its taps are adjacent in memory
// and per tap elsewhere. A patch at a side goes alone, tap by tap; taps outside read zero points.
#include "ops/patches.h"

#include <algorithm>

namespace octensor::ops {

struct PatchPacker::Line {
  int64_t n, o0, o1, group;
};

PatchPacker::PatchPacker(const Geometry& g, const KernelTable& table) : g_(g), table_(table) {
  const PackedConv& w = g.w;
  channels_ = g.channels / w.groups;
  adjacent_ = w.groups == 1 && w.reach[2] == 1 && g.stride[2] == channels_;
  const int64_t last = g.size[2] + w.lead[2] - (w.kernel[2] - 1) * w.reach[2];  // positions * step below it are inside
  const auto ceil_div = [&](int64_t n) { return n <= 0 ? 0 : (n + w.step[2] - 1) / w.step[2]; };
  inside_ = std::min(ceil_div(w.lead[2]), g.out_size[2]);
  beyond_ = std::clamp(ceil_div(last), inside_, g.out_size[2]);
  padding_.assign(channels_ * std::max<int64_t>(w.kernel[2], 1), static_cast<uint8_t>(g.zero_point));
}

bool PatchPacker::in_place() const {
  const PackedConv& w = g_.w;
  const Triple one{1, 1, 1};
  if (w.kernel != one || w.groups != 1 || w.lead != Triple{0, 0, 0}) return false;
  // The next line, plane and image must begin where the last ends.
  int64_t bytes = w.step[2] * g_.stride[2];
  const auto continues = [&](int64_t count, int64_t inner, int64_t stride) { return count == 1 || stride == inner; };
  const int64_t line = bytes * g_.out_size[2], plane = line * g_.out_size[1], image = plane * g_.out_size[0];
  return continues(g_.out_size[1], line, w.step[1] * g_.stride[1]) &&
         continues(g_.out_size[0], plane, w.step[0] * g_.stride[0]) && continues(g_.batch, image, g_.image_stride);
}

// `rows` positions of a line from `position` on; `inside`: no tap of theirs reaches over the line's ends.
void PatchPacker::pack(const Line& line, int64_t position, int64_t rows, bool inside, uint8_t* out,
                       int64_t row_bytes) const {
  const PackedConv& w = g_.w;
  const int64_t taps = inside && adjacent_ ? 1 : w.kernel[2],
                length = inside && adjacent_ ? w.kernel[2] * channels_ : channels_;
  thread_local std::vector<PatchRun> runs;
  runs.clear();
  const uint8_t* image = g_.x + line.n * g_.image_stride + line.group * channels_;
  const int64_t start = position * w.step[2] - w.lead[2], advance = w.step[2] * g_.stride[2];
  for (int64_t t0 = 0; t0 < w.kernel[0]; ++t0) {
    const int64_t i0 = g_.source(0, line.o0, t0);
    for (int64_t t1 = 0; t1 < w.kernel[1]; ++t1) {
      const int64_t i1 = i0 < 0 ? -1 : g_.source(1, line.o1, t1);
      const uint8_t* from = image + i0 * g_.stride[0] + i1 * g_.stride[1];
      for (int64_t t2 = 0; t2 < taps; ++t2) {
        const int64_t i2 = start + t2 * w.reach[2];
        if (i1 < 0 || i2 < 0 || i2 >= g_.size[2])
          runs.push_back({padding_.data(), 0});
        else
          runs.push_back({from + i2 * g_.stride[2], advance});
      }
    }
  }
  table_.pack_runs({.runs = runs.data(),
                    .count = static_cast<int64_t>(runs.size()),
                    .length = length,
                    .rows = rows,
                    .is_signed = g_.is_signed,
                    .zero_point = g_.zero_point,
                    .out = out,
                    .row_bytes = row_bytes});
}

void PatchPacker::operator()(int64_t first, int64_t n, int64_t group, uint8_t* out, int64_t row_bytes) const {
  int64_t position = first % g_.out_size[2], line = first / g_.out_size[2];
  while (n > 0) {
    const int64_t o1 = line % g_.out_size[1], plane = line / g_.out_size[1];
    const Line at{plane / g_.out_size[0], plane % g_.out_size[0], o1, group};
    const int64_t end = std::min(position + n, g_.out_size[2]);
    n -= end - position;
    while (position < end) {
      const bool inside = position >= inside_ && position < beyond_;
      const int64_t rows = inside ? std::min(end, beyond_) - position : 1;
      pack(at, position, rows, inside, out, row_bytes);
      out += rows * row_bytes;
      position += rows;
    }
    position = 0;
    ++line;
  }
}

}  // namespace octensor::ops
