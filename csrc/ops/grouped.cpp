// Grouped convolution, channels across lanes (kernels/grouped.h).
//
// A task computes a band of output lines of one *strip* of output channels: the adjacent vectors whose lanes see the
// same input channels, one vector unless a group fills several. It keeps the input lines that the kernel's rows need,
// spread for the strip, in a ring of slots, so that every line is spread once per band. In a slot, positions are
// ordered by [step of input channels][phase][column / stride], phase = column mod stride: for any tap, adjacent
// outputs then read adjacent vectors, whatever the stride.
#include "ops/grouped.h"

#include <algorithm>
#include <cstring>

#include "core/scratch.h"
#include "ops/gemm_driver.h"
#include "ops/tasks.h"

namespace octensor::ops {
namespace {

constexpr int64_t kRingBytes = 24 * 1024;  // spread lines of a task: beside the weights in a 32 KiB L1
constexpr int64_t kLeastColumns = 32;      // per segment of a line, lest its overlap with the next costs more
constexpr int64_t kWindow = 16;            // bytes that F::pick reads at once

// Everything about a weight that does not depend on the call.
struct LaneWeights {
  bool words;
  int64_t lanes, vectors, steps;  // vectors of output channels; steps of kGroup input channels per tap
  int64_t vector;                 // values of a spread vector
  int64_t strip;                  // vectors per strip
  StoragePtr values;              // [vector of channels][tap][step] vectors of weights
  std::vector<int32_t> sums;      // per channel, padded: of the weights
  std::vector<int32_t> offsets;   // [strip][step][value]: which byte of an input position a value is
  std::vector<int32_t> windows;   // [strip][step][value / 16]; none (near is false) where they are too wide
  std::vector<uint8_t> index;     // [strip][step][value, padded to 16]
  std::vector<uint8_t> near;      // [strip]: whether windows hold everything
  int32_t last_window;

  const GroupedKernels& kernels(const KernelTable& t) const { return words ? t.grouped_words : t.grouped_bytes; }
  int64_t windows_per_vector() const { return ceil_div(vector, kWindow); }
};

// Bytes multiply four input channels at once but hold no weight minus zero point outside int8.
bool takes_words(const WeightMatrix& m, const WeightCodes& codes, int64_t in) {
  if (in <= 2) return true;
  for (int64_t c = 0; c < m.groups * m.columns; ++c)
    for (int64_t k = 0; m.zero_points[c] && k < m.k; ++k) {
      const int32_t w = codes[c * m.k + k] - m.zero_points[c];
      if (w != static_cast<int8_t>(w)) return true;
    }
  return false;
}

// The windows of 16 bytes that hold a strip's values.
void find_windows(LaneWeights& l, int64_t strip) {
  const int64_t per_vector = l.windows_per_vector();
  for (int64_t v = strip * l.steps; v < (strip + 1) * l.steps; ++v) {
    const int32_t* offset = l.offsets.data() + v * l.vector;
    const auto [least, most] = std::minmax_element(offset, offset + l.vector);
    const bool one = *most - *least < kWindow;  // the same window for all: loaded once
    for (int64_t w = 0; w < per_vector; ++w) {
      const int64_t first = w * kWindow, end = std::min(first + kWindow, l.vector);
      const int32_t base = one ? *least : *std::min_element(offset + first, offset + end);
      l.windows[v * per_vector + w] = base;
      l.last_window = std::max(l.last_window, base);
      for (int64_t i = first; i < end; ++i) {
        if (offset[i] - base >= kWindow) l.near[strip] = false;
        l.index[v * per_vector * kWindow + i] = static_cast<uint8_t>((offset[i] - base) % kWindow);
      }
    }
  }
}

std::shared_ptr<const LaneWeights> pack(const PackedConv& w, const KernelTable& table) {
  const WeightMatrix& m = w.matrix();
  const WeightCodes codes = w.codes();
  const int64_t taps = w.kernel[0] * w.kernel[1] * w.kernel[2], in = m.k / taps, channels = m.groups * m.columns;
  auto l = std::make_shared<LaneWeights>();
  l->words = takes_words(m, codes, in);
  const GroupedKernels& kernels = l->kernels(table);
  const int64_t lanes = table.tile.lanes, group = kernels.group;
  l->lanes = lanes;
  l->vectors = ceil_div(channels, lanes);
  l->steps = ceil_div(in, group);
  l->vector = lanes * group;
  l->strip = m.groups == 1 ? l->vectors : m.columns % lanes ? 1 : m.columns / lanes;
  l->last_window = 0;
  const int64_t bytes = l->vectors * taps * l->steps * l->vector * kernels.activation;
  l->values = allocate(bytes);
  std::memset(l->values.get(), 0, bytes);
  l->sums.resize(l->vectors * lanes);
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t k = 0; k < m.k; ++k) {
      const int64_t tap = k / in, i = k % in;
      const int64_t at = (((c / lanes * taps + tap) * l->steps + i / group) * lanes + c % lanes) * group + i % group;
      const int32_t value = codes[c * m.k + k] - m.zero_points[c];
      l->sums[c] += value;
      if (kernels.activation == 2)
        reinterpret_cast<int16_t*>(l->values.get())[at] = static_cast<int16_t>(value);
      else
        l->values.get()[at] = static_cast<uint8_t>(value);
    }
  const int64_t strips = l->vectors / l->strip, spread = strips * l->steps;
  l->offsets.resize(spread * l->vector);
  l->windows.resize(spread * l->windows_per_vector());
  l->index.resize(spread * l->windows_per_vector() * kWindow);
  l->near.assign(strips, true);
  for (int64_t s = 0; s < strips; ++s) {
    for (int64_t step = 0; step < l->steps; ++step)
      for (int64_t v = 0; v < l->vector; ++v) {
        // Lanes and channels that do not exist have weight 0: they repeat the last that does.
        const int64_t c = std::min(s * l->strip * lanes + v / group, channels - 1);
        const int64_t i = std::min(step * group + v % group, in - 1);
        l->offsets[(s * l->steps + step) * l->vector + v] = static_cast<int32_t>(c / m.columns * in + i);
      }
    find_windows(*l, s);
  }
  return l;
}

// How a call is cut into tasks, and where spread positions lie in a slot.
struct Plan {
  int64_t columns, segments;    // output columns of a task; tasks per line
  int64_t lines, bands;         // output lines of a task; tasks per plane of lines
  int64_t ring;                 // slots per kernel plane
  int64_t positions;            // of one phase
  int64_t slot;                 // vectors of a slot
  std::vector<int64_t> phases;  // which of the stride's phases some tap reads
  std::vector<int64_t> places;  // [tap of a kernel row][step]: the vector in a slot where its positions begin
  int threads;
};

Plan make_plan(const Geometry& g, const LaneWeights& l, int64_t vector_bytes) {
  const PackedConv& w = g.w;
  Plan p;
  for (int64_t t = 0; t < w.kernel[2]; ++t) {
    const int64_t phase = t * w.reach[2] % w.step[2];
    if (std::find(p.phases.begin(), p.phases.end(), phase) == p.phases.end()) p.phases.push_back(phase);
  }
  p.ring = (w.kernel[1] - 1) * w.reach[1] + 1;
  const int64_t overlap = (w.kernel[2] - 1) * w.reach[2] / w.step[2], width = g.out_size[2];
  const int64_t column_bytes = static_cast<int64_t>(p.phases.size()) * l.steps * vector_bytes * p.ring * w.kernel[0];
  const int64_t fit = std::max({kRingBytes / column_bytes - overlap, 4 * overlap, kLeastColumns});
  p.segments = ceil_div(width, fit);
  p.columns = std::min(width, round_up(ceil_div(width, p.segments), 8));
  p.segments = ceil_div(width, p.columns);
  p.positions = p.columns + overlap;
  p.slot = static_cast<int64_t>(p.phases.size()) * l.steps * p.positions;
  for (int64_t t = 0; t < w.kernel[2]; ++t) {
    const int64_t phase = std::find(p.phases.begin(), p.phases.end(), t * w.reach[2] % w.step[2]) - p.phases.begin();
    for (int64_t s = 0; s < l.steps; ++s)
      p.places.push_back((s * static_cast<int64_t>(p.phases.size()) + phase) * p.positions +
                         t * w.reach[2] / w.step[2]);
  }
  p.threads = threads_for(g.batch * g.out_size[0] * g.out_size[1] * width * l.vectors * l.lanes * w.matrix().k);
  const int64_t others = g.batch * g.out_size[0] * p.segments * (l.vectors / l.strip);
  p.bands = std::clamp<int64_t>(ceil_div(4 * p.threads, others), 1, g.out_size[1]);
  p.lines = ceil_div(g.out_size[1], p.bands);
  p.bands = ceil_div(g.out_size[1], p.lines);
  return p;
}

// What one task writes, and the input that it reads.
struct Task {
  const uint8_t* image;
  int64_t strip, o0, first_line, lines, first_column, columns;
  uint8_t* out;  // of the image
};

struct Run {
  const Geometry& g;
  const LaneWeights& l;
  const GroupedKernels& kernels;
  const Plan& plan;
  uint8_t padding;     // every byte of a spread padding position
  const uint8_t* end;  // of the input's memory
  const Requantize& requantize;

  int64_t vector_bytes() const { return l.vector * kernels.activation; }

  // Input line `from` of a plane, as the task's strip wants it.
  void spread(const Task& task, const uint8_t* from, uint8_t* slot) const {
    const int64_t step = g.w.step[2], lead = g.w.lead[2], size = g.size[2];
    const int64_t positions = task.columns + plan.positions - plan.columns, bytes = vector_bytes();
    const int64_t plane = static_cast<int64_t>(plan.phases.size()) * plan.positions;
    const int64_t v = task.strip * l.steps, w = v * l.windows_per_vector();
    for (int64_t phase : plan.phases) {
      const int64_t first = task.first_column * step - lead + phase;  // column of position 0
      const int64_t lo = std::clamp<int64_t>(first < 0 ? ceil_div(-first, step) : 0, 0, positions);
      const int64_t hi = std::clamp<int64_t>(first < size ? ceil_div(size - first, step) : 0, lo, positions);
      for (int64_t s = 0; s < l.steps; ++s) {
        std::memset(slot + s * plane * bytes, padding, lo * bytes);
        std::memset(slot + (s * plane + hi) * bytes, padding, (positions - hi) * bytes);
      }
      kernels.spread({.codes = from + (first + lo * step) * g.stride[2],
                      .advance = step * g.stride[2],
                      .positions = hi - lo,
                      .steps = l.steps,
                      .last = l.near[task.strip] ? end - kWindow - l.last_window : nullptr,
                      .windows = l.windows.data() + w,
                      .index = l.index.data() + w * kWindow,
                      .offsets = l.offsets.data() + v * l.vector,
                      .is_signed = g.is_signed,
                      .zero_point = g.zero_point,
                      .out = slot + lo * bytes,
                      .plane = plane});
      slot += plan.positions * bytes;
    }
  }

  void operator()(const Task& task) const {
    const PackedConv& w = g.w;
    const int64_t bytes = vector_bytes(), slots = plan.ring * w.kernel[0];
    const auto line_steps = static_cast<int64_t>(plan.places.size());
    const int64_t steps = w.kernel[0] * w.kernel[1] * line_steps, channels = w.matrix().groups * w.matrix().columns;
    struct Lines;
    uint8_t* memory =
        scratch<Lines, uint8_t>((slots * plan.slot + plan.columns) * bytes + steps * sizeof(void*) + slots * 8);
    uint8_t* padded = memory + slots * plan.slot * bytes;
    auto** sources = reinterpret_cast<const void**>(padded + plan.columns * bytes);
    auto* held = reinterpret_cast<int64_t*>(sources + steps);
    std::memset(padded, padding, plan.columns * bytes);
    std::fill_n(held, slots, -1);
    for (int64_t o1 = task.first_line; o1 < task.first_line + task.lines; ++o1) {
      const void** source = sources;
      for (int64_t t0 = 0; t0 < w.kernel[0]; ++t0)
        for (int64_t t1 = 0; t1 < w.kernel[1]; ++t1) {
          const int64_t i0 = g.source(0, task.o0, t0), i1 = g.source(1, o1, t1);
          if (i0 < 0 || i1 < 0) {
            std::fill_n(source, line_steps, padded);
            source += line_steps;
            continue;
          }
          const int64_t slot = t0 * plan.ring + i1 % plan.ring;
          uint8_t* spreaded = memory + slot * plan.slot * bytes;
          if (held[slot] != i1) spread(task, task.image + i0 * g.stride[0] + i1 * g.stride[1], spreaded);
          held[slot] = i1;
          for (int64_t place : plan.places) *source++ = spreaded + place * bytes;
        }
      for (int64_t v = task.strip * l.strip; v < (task.strip + 1) * l.strip; ++v) {
        Requantize r = requantize;
        r.bias += v * l.lanes;
        r.multiplier += v * l.lanes;
        const int64_t position = (task.o0 * g.out_size[1] + o1) * g.out_size[2] + task.first_column;
        kernels.sum({.sources = sources,
                     .weights = l.values.get() + v * steps * bytes,
                     .steps = steps,
                     .pixels = task.columns,
                     .requantize = r,
                     .channels = std::min(l.lanes, channels - v * l.lanes),
                     .out = task.out + position * channels + v * l.lanes,
                     .out_stride = channels});
      }
    }
  }
};

const uint8_t* end_of(const Geometry& g) {
  const auto reach = [](int64_t n, int64_t stride) { return std::max<int64_t>(0, (n - 1) * stride); };
  const uint8_t* end = g.x + reach(g.batch, g.image_stride) + g.channels;
  for (int a = 0; a < 3; ++a) end += reach(g.size[a], g.stride[a]);
  return end;
}

}  // namespace

// One GEMM per group wastes the panels' columns that a group does not fill and packs every patch for few columns. Of
// one group with few input channels patches are short runs, whose packing costs more than the multiplications; beyond
// 32 output channels and 9 taps the GEMM's multiplications, which waste no lane's inputs, win again (measured).
bool grouped_pays(const PackedConv& w, const KernelTable& table) {
  const WeightMatrix& m = w.matrix();
  const int64_t taps = w.kernel[0] * w.kernel[1] * w.kernel[2];
  if (m.k == 0) return false;
  if (m.groups > 1) return m.columns <= 3 * table.tile.lanes;
  return m.k / taps <= 4 && taps > 1 && (m.columns <= 32 || taps <= 9);
}

void grouped(const Geometry& g, const KernelTable& table, const Epilogue& epilogue, const QParams& qparams, bool relu,
             uint8_t* out) {
  const auto weights = g.w.form<LaneWeights>(table, pack);
  const LaneWeights& l = *weights;
  const GroupedKernels& kernels = l.kernels(table);
  const int64_t channels = g.w.matrix().groups * g.w.matrix().columns;
  // Bytes hold their zero point, and padding is spread as the zero point itself: sum (a - za) w = sum a w - za sum w.
  const bool bytes = kernels.activation == 1;
  const int32_t zero = bytes ? g.zero_point + byte_shift(g.is_signed, kernels.signed_bytes) : 0;
  std::vector<int32_t> bias(l.vectors * l.lanes);
  std::vector<float> multiplier(l.vectors * l.lanes);
  for (int64_t c = 0; c < channels; ++c) {
    const uint32_t correction = static_cast<uint32_t>(zero) * static_cast<uint32_t>(l.sums[c]);
    bias[c] = static_cast<int32_t>(static_cast<uint32_t>(epilogue.bias[c]) - correction);
    multiplier[c] = epilogue.multiplier[c];
  }
  Requantize requantize = requantize_of(epilogue, qparams, relu, 0);
  requantize.bias = bias.data();
  requantize.multiplier = multiplier.data();

  const Plan plan = make_plan(g, l, l.vector * kernels.activation);
  const Run run{g, l, kernels, plan, static_cast<uint8_t>(zero), end_of(g), requantize};
  const int64_t strips = l.vectors / l.strip, image = g.out_size[0] * g.out_size[1] * g.out_size[2] * channels;
  // Bands come first: threads at work side by side then write other lines, not parts of the same.
  const auto task = [&](int64_t index) {
    const int64_t band = index % plan.bands, segment = index / plan.bands % plan.segments;
    const int64_t strip = index / plan.bands / plan.segments % strips;
    const int64_t plane = index / plan.bands / plan.segments / strips, n = plane / g.out_size[0];
    run({.image = g.x + n * g.image_stride,
         .strip = strip,
         .o0 = plane % g.out_size[0],
         .first_line = band * plan.lines,
         .lines = std::min(plan.lines, g.out_size[1] - band * plan.lines),
         .first_column = segment * plan.columns,
         .columns = std::min(plan.columns, g.out_size[2] - segment * plan.columns),
         .out = out + n * image});
  };
  const int64_t tasks = g.batch * g.out_size[0] * plan.bands * plan.segments * strips;
  run_tasks(tasks, plan.threads, task);
}

}  // namespace octensor::ops
