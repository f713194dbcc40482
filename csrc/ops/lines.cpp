// Convolution of few input channels, multiplied where its input lines lie (kernels/line_gemm.h).
//
// A task computes a band of output lines, or of segments of them. It keeps the input lines that the kernel's rows need
// in a ring of slots, each copied once per band: packed, with the padding before and after it that taps read. A kernel
// row reads run / kGroup whole groups of its line; what is left of all runs, run % kGroup values each, is gathered into
// lines of its own, whose outputs lie as far apart as the input's, so that the tile sees no difference. Of a 7x7 kernel
// over 3 channels that makes 37 groups of 4 in place of 42.
#include "ops/lines.h"

#include <algorithm>
#include <cstring>

#include "core/scratch.h"
#include "ops/gemm_driver.h"
#include "ops/mixed_groups.h"
#include "ops/tasks.h"

namespace octensor::ops {
namespace {

constexpr int64_t kMostChannels = 4;
constexpr int64_t kMostGroups = 256;       // of K; where the GEMM is mixed, those of one of its blocks
constexpr int64_t kRingBytes = 16 * 1024;  // of a task's lines, beside a panel of weights in a 32 KiB L1
constexpr int64_t kLeastColumns = 32;      // per segment of a line, lest its overlap with the next costs more
constexpr int64_t kLeastLines = 8;         // per band, likewise

// Everything about a weight that does not depend on the call.
struct LineWeights {
  int64_t rows, run;    // kernel rows, values of each
  int64_t whole, rest;  // groups of a run in its line; values of it to gather
  int64_t gathered;     // lines of gathered values, of one group each
  int64_t groups;       // of K, in all
  PackedPanels panels;
  // [panel][groups] in the order of multiplication: which line, counted on over the gathered ones; where in it.
  std::vector<int64_t> line, place;
};

int64_t run_of(const PackedConv& w) { return w.matrix().k / (w.kernel[0] * w.kernel[1]); }

std::shared_ptr<const LineWeights> pack(const PackedConv& w, const KernelTable& table) {
  const WeightMatrix& m = w.matrix();
  const GemmTile t = table.tile;
  const WeightCodes codes = w.codes();
  const int64_t advance = w.step[2] * (run_of(w) / w.kernel[2]);
  auto l = std::make_shared<LineWeights>();
  l->rows = w.kernel[0] * w.kernel[1];
  l->run = run_of(w);
  const int64_t left = l->run % t.group;
  // Gathered groups are moved as four bytes.
  const bool gathers =
      left && t.group * t.activation == 4 && advance >= t.group && ceil_div(l->rows * left, t.group) < l->rows;
  l->rest = gathers ? left : 0;
  l->whole = gathers ? l->run / t.group : ceil_div(l->run, t.group);
  l->gathered = ceil_div(l->rows * l->rest, t.group);
  l->groups = l->rows * l->whole + l->gathered;

  // Which k a group's value has; -1: none.
  const auto k_of = [&](int64_t q, int64_t i) -> int64_t {
    const int64_t in_lines = l->rows * l->whole;
    if (q < in_lines) {
      const int64_t at = q % l->whole * t.group + i;
      return at < l->run ? q / l->whole * l->run + at : -1;
    }
    const int64_t at = (q - in_lines) * t.group + i;
    return at < l->rows * l->rest ? at / l->rest * l->run + l->whole * t.group + at % l->rest : -1;
  };
  const int64_t panels = ceil_div(m.columns, t.panel), step = int64_t{t.panel} * t.group;
  l->panels.group_bytes = panels * l->groups * step;
  l->panels.values = allocate(l->panels.group_bytes);
  uint8_t* values = l->panels.values.get();
  std::memset(values, 0, l->panels.group_bytes);
  for (int64_t c = 0; c < m.columns; ++c)
    for (int64_t q = 0; q < l->groups; ++q)
      for (int64_t i = 0; i < t.group; ++i)
        if (const int64_t k = k_of(q, i); k >= 0)
          values[(c / t.panel * l->groups + q) * step + c % t.panel * t.group + i] =
              static_cast<uint8_t>(codes[c * m.k + k]);
  if (t.mixed_block) order_groups(t, m, l->groups, l->panels);
  for (int64_t i = 0; i < panels * l->groups; ++i) {
    const int64_t q = t.mixed_block ? l->panels.order[i] / step : i % l->groups, in_lines = l->rows * l->whole;
    l->line.push_back(q < in_lines ? q / l->whole : l->rows + q - in_lines);
    l->place.push_back(q < in_lines ? q % l->whole * t.group : 0);
  }
  return l;
}

// How a call is cut into tasks, and where things lie in a task's memory.
struct Plan {
  int64_t advance;            // values from an output to the next
  int64_t columns, segments;  // outputs of a task's lines; tasks per line
  int64_t lines, bands;       // output lines of a task; tasks per plane of lines
  int64_t ring, slots;        // slots per kernel plane; in all
  int64_t slot;               // bytes of a line, with what tiles of whole rows read after its last output
  int threads;
};

Plan make_plan(const Geometry& g, const LineWeights& l, const KernelTable& table) {
  const PackedConv& w = g.w;
  const GemmTile& t = table.tile;
  const int64_t width = g.out_size[2];
  Plan p;
  p.advance = w.step[2] * g.channels;
  p.ring = (w.kernel[1] - 1) * w.reach[1] + 1;
  p.slots = p.ring * w.kernel[0];
  const int64_t fit = kRingBytes / (l.rows * t.activation * p.advance);
  p.segments = ceil_div(width, std::max(fit, kLeastColumns));
  p.columns = std::min(width, round_up(ceil_div(width, p.segments), t.rows));
  p.segments = ceil_div(width, p.columns);
  p.slot = round_up((round_up(p.columns, t.rows) * p.advance + l.run + t.group) * t.activation, 64);
  p.threads = threads_for(g.batch * g.out_size[0] * g.out_size[1] * width * w.matrix().columns * w.matrix().k);
  const int64_t others = g.batch * g.out_size[0] * p.segments;
  const int64_t bands = p.threads == 1 ? 1 : ceil_div(4 * p.threads, others);
  p.lines = std::max(ceil_div(g.out_size[1], bands), std::min(kLeastLines, g.out_size[1]));
  p.bands = ceil_div(g.out_size[1], p.lines);
  return p;
}

struct Task {
  const uint8_t* image;
  int64_t o0, first_line, lines, first_column, columns;
  uint8_t* out;  // of the image
};

struct Run {
  const Geometry& g;
  const KernelTable& table;
  const LineWeights& l;
  const Plan& plan;
  const CodePacker& packer;
  const Requantize& requantize;

  // What the taps of one kernel row read of an input line (null: padding).
  void fill(const Task& task, const uint8_t* from, uint8_t* slot) const {
    const int64_t first = task.first_column * g.w.step[2] - g.w.lead[2], channels = g.channels;
    const int64_t columns = (task.columns - 1) * g.w.step[2] + g.w.kernel[2], value = packer.size();
    const int64_t lo = from ? std::clamp<int64_t>(-first, 0, columns) : columns;
    const int64_t hi = from ? std::clamp<int64_t>(g.size[2] - first, lo, columns) : columns;
    std::memset(slot, packer.packed_zero, lo * channels * value);
    if (hi > lo) packer.codes(from + (first + lo) * channels, (hi - lo) * channels, slot + lo * channels * value);
    std::memset(slot + hi * channels * value, packer.packed_zero, (columns - hi) * channels * value);
  }

  // One group of what the runs leave: values [first, first + kGroup) of all rows' rests, four bytes per output.
  void gather(uint8_t* const* slots, int64_t first, uint8_t* out) const {
    const int64_t value = packer.size(), advance = plan.advance * value, count = table.tile.group;
    const uint8_t* from[4];
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = std::min(first + i, l.rows * l.rest - 1);
      from[i] = slots[at / l.rest] + (l.whole * count + at % l.rest) * value;
    }
    const auto read = [](const uint8_t* p, auto type) {
      std::memcpy(&type, p, sizeof type);
      return uint32_t{type};
    };
    for (int64_t at = 0; at < plan.columns * advance; at += advance) {
      const uint32_t four = value == 2 ? read(from[0] + at, uint16_t{}) | read(from[1] + at, uint16_t{}) << 16
                                       : read(from[0] + at, uint8_t{}) | read(from[1] + at, uint8_t{}) << 8 |
                                             read(from[2] + at, uint8_t{}) << 16 | read(from[3] + at, uint8_t{}) << 24;
      std::memcpy(out + at, &four, 4);
    }
  }

  void operator()(const Task& task) const {
    const PackedConv& w = g.w;
    const int64_t channels = w.matrix().columns, value = packer.size();
    const bool mixed = table.tile.mixed_block > 0;
    const int64_t slots = plan.slots + 1 + l.gathered, lines = l.rows + l.gathered;
    const auto offset_count = static_cast<int64_t>(l.line.size());
    struct Lines;
    uint8_t* memory = scratch<Lines, uint8_t>(slots * plan.slot + (offset_count + lines + plan.slots) * 8);
    uint8_t *padding = memory + plan.slots * plan.slot, *rests = padding + plan.slot;
    auto* offsets = reinterpret_cast<int64_t*>(memory + slots * plan.slot);
    auto** line = reinterpret_cast<uint8_t**>(offsets + offset_count);
    auto* held = reinterpret_cast<int64_t*>(line + lines);
    std::fill_n(held, plan.slots, -1);
    std::memset(memory, 0, slots * plan.slot);
    fill(task, nullptr, padding);
    for (int64_t i = 0; i < l.gathered; ++i) line[l.rows + i] = rests + i * plan.slot;
    for (int64_t o1 = task.first_line; o1 < task.first_line + task.lines; ++o1) {
      for (int64_t t0 = 0; t0 < w.kernel[0]; ++t0)
        for (int64_t t1 = 0; t1 < w.kernel[1]; ++t1) {
          const int64_t i0 = g.source(0, task.o0, t0), i1 = g.source(1, o1, t1);
          const bool inside = i0 >= 0 && i1 >= 0;
          const int64_t slot = inside ? t0 * plan.ring + i1 % plan.ring : plan.slots;
          line[t0 * w.kernel[1] + t1] = memory + slot * plan.slot;
          if (!inside || held[slot] == i1) continue;
          fill(task, task.image + i0 * g.stride[0] + i1 * g.stride[1], memory + slot * plan.slot);
          held[slot] = i1;
        }
      for (int64_t i = 0; i < l.gathered; ++i) gather(line, i * table.tile.group, line[l.rows + i]);
      for (int64_t i = 0; i < offset_count; ++i) offsets[i] = (line[l.line[i]] - memory) / value + l.place[i];
      const int64_t position = (task.o0 * g.out_size[1] + o1) * g.out_size[2] + task.first_column;
      table.line_gemm({.gemm = {.a = memory,
                                .rows = task.columns,
                                .lda = plan.advance,
                                .b = reinterpret_cast<const int8_t*>(l.panels.values.get()),
                                .columns = channels,
                                .groups = l.groups,
                                .order = mixed ? l.panels.order.data() : nullptr,
                                .ends = mixed ? l.panels.ends.data() : nullptr,
                                .flipped_sums = mixed ? l.panels.flipped_sums.data() : nullptr,
                                .code_zero = packer.packed_zero,
                                .weight_sums = value == 1 ? w.matrix().weight_sums.data() : nullptr,
                                .row_sums = nullptr,
                                .weight_zero = nullptr,
                                .requantize = requantize,
                                .codes = task.out + position * channels,
                                .sums = nullptr,
                                .reals = nullptr,
                                .real = {},
                                .ldc = channels,
                                .scratch = nullptr,
                                .backward = false},
                       .offsets = offsets});
    }
  }
};

}  // namespace

bool lines_pay(const Geometry& g, const KernelTable& table) {
  const PackedConv& w = g.w;
  const WeightMatrix& m = w.matrix();
  const int64_t most = table.tile.mixed_block ? table.tile.mixed_block : kMostGroups;
  return m.groups == 1 && m.k > 0 && !m.asymmetric && w.kernel[2] > 1 && w.reach[2] == 1 &&
         g.channels <= kMostChannels && g.stride[2] == g.channels &&
         w.kernel[0] * w.kernel[1] * ceil_div(run_of(w), table.tile.group) <= most;
}

void convolve_lines(const Geometry& g, const KernelTable& table, const Epilogue& epilogue, const QParams& qparams,
                    bool relu, uint8_t* out) {
  const auto weights = g.w.form<LineWeights>(table, pack);
  const Plan plan = make_plan(g, *weights, table);
  const CodePacker packer(table, g.is_signed, g.zero_point);
  const Requantize requantize = requantize_of(epilogue, qparams, relu, 0);
  const Run run{g, table, *weights, plan, packer, requantize};
  const int64_t image = g.out_size[0] * g.out_size[1] * g.out_size[2] * g.w.matrix().columns;
  const auto task = [&](int64_t index) {
    const int64_t band = index % plan.bands, segment = index / plan.bands % plan.segments;
    const int64_t place = index / plan.bands / plan.segments, n = place / g.out_size[0];
    run({.image = g.x + n * g.image_stride,
         .o0 = place % g.out_size[0],
         .first_line = band * plan.lines,
         .lines = std::min(plan.lines, g.out_size[1] - band * plan.lines),
         .first_column = segment * plan.columns,
         .columns = std::min(plan.columns, g.out_size[2] - segment * plan.columns),
         .out = out + n * image});
  };
  run_tasks(g.batch * g.out_size[0] * plan.segments * plan.bands, plan.threads, task);
}

}  // namespace octensor::ops
