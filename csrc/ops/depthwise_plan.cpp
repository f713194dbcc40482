#include "ops/depthwise_plan.h"

#include <algorithm>
#include <cstring>

namespace octensor {
namespace {

constexpr int64_t kBufferCells = 256;  // 16 KiB on AVX2 and AVX-512: half of the L1 cache
constexpr int64_t kWindowBytes = 24 * 1024;
constexpr int64_t kGap = 32;  // taps further apart (in outputs) do not share a stream

int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// Bytes hold weights in [-128, 127]; what is beyond goes to further steps that read the same cell.
int64_t planes_of(const WeightMatrix& m, const WeightCodes& codes) {
  int64_t planes = 1;
  for (int64_t i = 0; i < codes.size(); ++i) {
    const int64_t w = codes[i] - m.zero_points[i / m.k];
    planes = std::max(planes, w >= 0 ? (w + 126) / 127 : (127 - w) / 128);
  }
  return planes;
}

struct Tap {
  int64_t row, column;  // of the kernel; column < 0: none, weight 0
};

struct Step {
  Tap taps[4];
  int64_t stream, shift;
};

// The decomposition of kernel rows and columns into steps.
std::vector<Step> steps_of(const PackedConv& w, int64_t group, std::vector<DepthwiseStream>& streams) {
  const int64_t rows = w.kernel[0] * w.kernel[1], columns = w.kernel[2], stride = w.step[2], reach = w.reach[2];
  std::vector<Step> steps;
  for (int64_t r = 0; r < rows;) {
    const int64_t left = rows - r, taken = left >= 3 || left >= group ? group : left, across = group / taken;
    std::vector<std::pair<size_t, int64_t>> open;  // this row group's streams and their first shift
    for (int64_t k = 0; k < columns; k += across) {
      Step step{};
      DepthwiseStream stream{};
      const int64_t phase = k * reach % stride, shift = k * reach / stride;
      for (int64_t t = 0; t < group; ++t) {
        const int64_t row = r + t / across, column = k + t % across;
        const bool real = row < rows && column < columns;
        step.taps[t] = {row, real ? column : -1};
        stream.row[t] = static_cast<int32_t>(std::min(row, rows - 1));
        stream.column[t] = std::min(column, columns - 1) * reach - w.lead[2];
      }
      auto found = std::find_if(open.begin(), open.end(), [&](const auto& o) {
        const DepthwiseStream& s = streams[o.first];
        return (s.column[0] + w.lead[2]) % stride == phase && shift - o.second - s.extra <= kGap;
      });
      if (found == open.end()) {
        found = open.insert(open.end(), {streams.size(), shift});
        streams.push_back(stream);
      }
      step.stream = static_cast<int64_t>(found->first);
      step.shift = shift - found->second;
      streams[step.stream].extra = std::max(streams[step.stream].extra, step.shift);
      steps.push_back(step);
    }
    r += taken;
  }
  return steps;
}

template <class T>
void pack_weights(const PackedConv& w, const WeightCodes& codes, const std::vector<Step>& steps,
                  const KernelTable& table, int64_t planes, DepthwisePlan& plan) {
  const WeightMatrix& m = w.matrix();
  const int64_t group = table.taps.group, channels = m.groups, cell = kDepthwiseChannels * group;
  const int64_t low = sizeof(T) == 1 ? -128 : -255, high = sizeof(T) == 1 ? 127 : 255;
  plan.weights = allocate(plan.blocks * plan.steps.size() * cell * sizeof(T));
  T* out = reinterpret_cast<T*>(plan.weights.get());
  for (int64_t b = 0; b < plan.blocks; ++b)
    for (const Step& step : steps) {
      for (int64_t i = 0; i < cell; ++i) {
        const int64_t c = depthwise_channel(b, channels) + table.taps.order[i / group];
        const Tap tap = step.taps[i % group];
        int64_t value = c < channels && tap.column >= 0
                            ? codes[c * m.k + tap.row * w.kernel[2] + tap.column] - m.zero_points[c]
                            : 0;
        for (int64_t p = 0; p < planes; ++p) {
          const int64_t part = std::clamp(value, low, high);
          out[p * cell + i] = static_cast<T>(part);
          value -= part;
        }
      }
      out += planes * cell;
    }
}

std::shared_ptr<const DepthwisePlan> make_plan(const PackedConv& w, const KernelTable& table) {
  const WeightMatrix& m = w.matrix();
  const WeightCodes codes = w.codes();
  const int64_t group = table.taps.group, channels = m.groups;
  const bool bytes = table.taps.activation == 1;
  const int64_t planes = bytes ? planes_of(m, codes) : 1;
  auto plan = std::make_shared<DepthwisePlan>();
  plan->blocks = std::max<int64_t>(1, (channels + kDepthwiseChannels - 1) / kDepthwiseChannels);
  plan->row_taps = w.kernel[0] * w.kernel[1];
  const std::vector<Step> steps = steps_of(w, group, plan->streams);
  for (const Step& s : steps) plan->steps.insert(plan->steps.end(), planes, {s.stream, s.shift});
  bytes ? pack_weights<int8_t>(w, codes, steps, table, planes, *plan)
        : pack_weights<int16_t>(w, codes, steps, table, planes, *plan);
  for (int64_t c = 0; c < channels; ++c) {
    uint32_t sum = 0;
    for (int64_t k = 0; k < m.k; ++k) sum += static_cast<uint32_t>(codes[c * m.k + k] - m.zero_points[c]);
    plan->weight_sums.push_back(sum);
  }
  return plan;
}

std::shared_ptr<const DepthwiseCall> make_call(const ops::Geometry& g, const KernelTable& table,
                                               std::shared_ptr<const DepthwisePlan> plan,
                                               std::shared_ptr<const Epilogue> epilogue) {
  const PackedConv& w = g.w;
  auto call = std::make_shared<DepthwiseCall>();
  call->columns = g.size[2], call->width = g.out_size[2], call->column_stride = g.stride[2];
  // A row of padding, along which one walks as along the input's.
  const int64_t reach = (g.size[2] - 1) * g.stride[2];
  call->padding_codes.assign(std::abs(reach) + g.channels, static_cast<uint8_t>(g.zero_point));
  call->padding = call->padding_codes.data() + std::max<int64_t>(0, -reach);
  // Packed bytes of the other signedness have their top bit flipped, their zero point with them.
  const int32_t flip = table.taps.activation == 2 ? 0 : byte_shift(g.is_signed, table.taps.signed_bytes);
  const auto zero = static_cast<uint32_t>(g.zero_point + flip);
  for (int64_t b = 0; b < plan->blocks; ++b)
    for (int64_t i = 0; i < kDepthwiseChannels; ++i) {
      const int64_t c = depthwise_channel(b, g.channels) + table.taps.order[i];
      const bool real = c < g.channels;
      call->bias.push_back(
          real ? static_cast<int32_t>(static_cast<uint32_t>(epilogue->bias[c]) - zero * plan->weight_sums[c]) : 0);
      call->multiplier.push_back(real ? epilogue->multiplier[c] : 0.0f);
    }
  // The buffer: long lines in segments, short ones with several blocks of channels.
  int64_t extra = 0;
  for (const DepthwiseStream& s : plan->streams) extra += s.extra;
  const int64_t count = static_cast<int64_t>(plan->streams.size());
  call->segment = std::min(call->width, std::max<int64_t>(8, (kBufferCells - extra) / count / 8 * 8));
  int64_t first = INT64_MAX, last = INT64_MIN, cells = 0;
  for (DepthwiseStream s : plan->streams) {
    const auto [least, most] = std::minmax_element(s.column, s.column + table.taps.group);
    first = std::min(first, *least);
    last = std::max(last, *most + (call->width - 1 + s.extra) * w.step[2]);
    const bool inner = g.channels >= kDepthwiseChannels;
    s.inner_begin = -floor_div(*least, w.step[2]);
    s.inner_end = inner ? floor_div(g.size[2] - 1 - *most, w.step[2]) + 1 : s.inner_begin;
    s.base = cells;
    cells += call->segment + s.extra;
    call->streams.push_back(s);
  }
  for (const auto& [stream, shift] : plan->steps) call->cells.push_back(call->streams[stream].base + shift);
  call->cell_count = cells;
  call->blocks = std::clamp<int64_t>(kBufferCells / cells, 1, plan->blocks);
  call->buffer_bytes = call->blocks * cells * kDepthwiseChannels * table.taps.group * table.taps.activation;
  call->first_column = first;
  for (int64_t at = first; at <= last; ++at) call->offsets.push_back(at >= 0 && at < g.size[2] ? at * g.stride[2] : -1);
  // The sliding window takes 3 x 3 with stride 1 or 2 where one int8 per weight, or an int16, is enough.
  const bool regular = w.kernel == Triple{1, 3, 3} && w.reach[2] == 1 && w.step[2] <= 2;
  const int64_t group = table.taps.group, steps = static_cast<int64_t>(plan->steps.size());
  call->window =
      regular && g.channels >= kDepthwiseChannels && ((group == 2 && steps == 5) || (group == 4 && steps == 3));
  if (call->window) {  // as many outputs at a time as keep their input in the L1 cache
    const int64_t parts = 3 * g.size[2] * g.channels / kWindowBytes + 1;
    call->segment = (call->width + parts - 1) / parts;
  }
  call->plan = std::move(plan);
  call->epilogue = std::move(epilogue);
  return call;
}

}  // namespace

std::shared_ptr<DepthwiseCache> make_depthwise_cache() { return std::make_shared<DepthwiseCache>(); }

std::shared_ptr<const DepthwiseCall> depthwise_call(const ops::Geometry& g, const KernelTable& table,
                                                    const std::shared_ptr<const Epilogue>& epilogue) {
  DepthwiseCache& cache = *g.w.depthwise;
  std::lock_guard lock(cache.mutex);
  const auto plan = g.w.form(table, make_plan);
  const auto& c = cache.call;
  if (!c || c->plan != plan || c->epilogue != epilogue || c->columns != g.size[2] || c->width != g.out_size[2] ||
      c->column_stride != g.stride[2])
    cache.call = make_call(g, table, plan, epilogue);
  return cache.call;
}

}  // namespace octensor
