// A line of outputs is cut where its patches reach over the input's sides. Between, all patches are the same runs of
// codes, shifted: one kernel call for the whole stretch, a run per kernel row where its taps are adjacent in memory
// and per tap elsewhere. A patch at a side goes alone, tap by tap; taps outside read zero points.
#include "ops/patches.h"

#include <algorithm>

namespace octensor::ops {

struct PatchPacker::Line {
  const uint8_t* image;  // channel 0 of the group
  int64_t o0, o1;
  bool inside;  // no tap reads another line than the input's
};

PatchPacker::PatchPacker(const Geometry& g, const KernelTable& table) : g_(g), table_(table) {
  const PackedConv& w = g.w;
  channels_ = g.channels / w.groups;
  run_taps_ = w.groups == 1 && w.reach[2] == 1 && g.stride[2] == channels_ ? std::max<int64_t>(w.kernel[2], 1) : 1;
  const int64_t last = g.size[2] + w.lead[2] - (w.kernel[2] - 1) * w.reach[2];  // positions * step below it are inside
  const auto ceil_div = [&](int64_t n) { return n <= 0 ? 0 : (n + w.step[2] - 1) / w.step[2]; };
  inside_ = std::min(ceil_div(w.lead[2]), g.out_size[2]);
  beyond_ = std::clamp(ceil_div(last), inside_, g.out_size[2]);
  for (int64_t t0 = 0; t0 < w.kernel[0]; ++t0)
    for (int64_t t1 = 0; t1 < w.kernel[1]; ++t1)
      for (int64_t t2 = 0; t2 < w.kernel[2]; t2 += run_taps_)
        offsets_.push_back(t0 * w.reach[0] * g.stride[0] + t1 * w.reach[1] * g.stride[1] +
                           t2 * w.reach[2] * g.stride[2]);
  padding_.assign(channels_ * run_taps_, static_cast<uint8_t>(g.zero_point));
}

bool PatchPacker::in_place() const {
  const PackedConv& w = g_.w;
  const Triple one{1, 1, 1};
  if (w.kernel != one || w.groups != 1 || w.lead != Triple{0, 0, 0}) return false;
  for (int a = 0; a < 3; ++a)
    if ((g_.out_size[a] - 1) * w.step[a] >= g_.size[a]) return false;  // output_padding
  // The next line, plane and image must begin where the last ends.
  int64_t bytes = w.step[2] * g_.stride[2];
  const auto continues = [&](int64_t count, int64_t inner, int64_t stride) { return count == 1 || stride == inner; };
  const int64_t line = bytes * g_.out_size[2], plane = line * g_.out_size[1], image = plane * g_.out_size[0];
  return continues(g_.out_size[1], line, w.step[1] * g_.stride[1]) &&
         continues(g_.out_size[0], plane, w.step[0] * g_.stride[0]) && continues(g_.batch, image, g_.image_stride);
}

PatchPacker::Line PatchPacker::line_of(int64_t line, int64_t group) const {
  const PackedConv& w = g_.w;
  const int64_t o1 = line % g_.out_size[1], o0 = line / g_.out_size[1] % g_.out_size[0];
  const int64_t n = line / g_.out_size[1] / g_.out_size[0];
  const auto inside = [&](int axis, int64_t o) {
    return g_.source(axis, o, 0) >= 0 && g_.source(axis, o, w.kernel[axis] - 1) >= 0;
  };
  return {g_.x + n * g_.image_stride + group * channels_, o0, o1, inside(0, o0) && inside(1, o1)};
}

// The runs of patches that lie inside the input.
int64_t PatchPacker::inner_runs(const Line& line, int64_t position, PatchRun* runs) const {
  const PackedConv& w = g_.w;
  const uint8_t* from = line.image + (line.o0 * w.step[0] - w.lead[0]) * g_.stride[0] +
                        (line.o1 * w.step[1] - w.lead[1]) * g_.stride[1] +
                        (position * w.step[2] - w.lead[2]) * g_.stride[2];
  const int64_t advance = w.step[2] * g_.stride[2];
  for (int64_t offset : offsets_) *runs++ = {from + offset, advance};
  return static_cast<int64_t>(offsets_.size());
}

// The runs of other patches; those of one that reaches over an end of its line (not `inside`) are single taps.
int64_t PatchPacker::outer_runs(const Line& line, int64_t position, bool inside, PatchRun* runs) const {
  const PackedConv& w = g_.w;
  const int64_t start = position * w.step[2] - w.lead[2], advance = w.step[2] * g_.stride[2];
  int64_t count = 0;
  for (int64_t t0 = 0; t0 < w.kernel[0]; ++t0) {
    const int64_t i0 = g_.source(0, line.o0, t0);
    for (int64_t t1 = 0; t1 < w.kernel[1]; ++t1) {
      const int64_t i1 = i0 < 0 ? -1 : g_.source(1, line.o1, t1);
      for (int64_t t2 = 0; t2 < w.kernel[2]; t2 += inside ? run_taps_ : 1) {
        const int64_t i2 = start + t2 * w.reach[2];
        if (i1 < 0 || i2 < 0 || i2 >= g_.size[2])
          runs[count++] = {padding_.data(), 0};
        else
          runs[count++] = {line.image + i0 * g_.stride[0] + i1 * g_.stride[1] + i2 * g_.stride[2], advance};
      }
    }
  }
  return count;
}

void PatchPacker::operator()(int64_t first, int64_t n, int64_t group, uint8_t* out, int64_t row_bytes) const {
  thread_local std::vector<PatchRun> runs;
  const Triple& kernel = g_.w.kernel;
  runs.resize(kernel[0] * kernel[1] * kernel[2]);
  int64_t position = first % g_.out_size[2];
  for (int64_t index = first / g_.out_size[2]; n > 0; ++index, position = 0) {
    const Line line = line_of(index, group);
    const int64_t end = std::min(position + n, g_.out_size[2]);
    n -= end - position;
    while (position < end) {
      const bool inside = position >= inside_ && position < beyond_;
      const int64_t rows = inside ? std::min(end, beyond_) - position : 1;
      const int64_t count = inside && line.inside ? inner_runs(line, position, runs.data())
                                                  : outer_runs(line, position, inside, runs.data());
      table_.pack_runs({.runs = runs.data(),
                        .count = count,
                        .length = channels_ * (inside ? run_taps_ : 1),
                        .rows = rows,
                        .is_signed = g_.is_signed,
                        .zero_point = g_.zero_point,
                        .out = out,
                        .row_bytes = row_bytes});
      out += rows * row_bytes;
      position += rows;
    }
  }
}

}  // namespace octensor::ops
