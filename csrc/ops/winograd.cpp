#include "ops/winograd.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/scratch.h"
#include "ops/gemm_driver.h"
#include "ops/tasks.h"

namespace octensor::ops {
namespace {

constexpr int kMaxParts = 4;                 // more parts cost more output transforms than F(2x2) does
constexpr int64_t kPartMultiple = 64;        // channels: whole vectors on every instruction set
constexpr int64_t kBlockBytes = 512 * 1024;  // transformed input of a block of tiles: stays in the L2 cache
constexpr int64_t kMaxBlockTiles = 48;
constexpr int64_t kTasksPerThread = 2;

// One of the two schemes: rows of G, and the bits of a sum that it keeps.
struct Scheme {
  int rows, bits;
  int8_t g[6][3];
};
constexpr Scheme kScheme2{4, 30, {{2, 0, 0}, {1, 1, 1}, {1, -1, 1}, {0, 0, 2}}};
constexpr Scheme kScheme4{6, 26, {{6, 0, 0}, {1, 1, 1}, {1, -1, 1}, {1, 2, 4}, {1, -2, 4}, {0, 0, 6}}};

int64_t part_channels(int64_t channels, int parts) { return round_up(ceil_div(channels, parts), kPartMultiple); }

// The fewest parts of the input channels whose sums are all exact; 0 when kMaxParts do not do.
int exact_parts(const PackedConv& w, const WeightCodes& codes, const Scheme& scheme) {
  const WeightMatrix& m = w.matrix();
  const int64_t channels = m.k / 9, limit = ((int64_t{1} << scheme.bits) - 2) / 255;
  if (m.worst_sum <= limit) return 1;
  for (int parts = 2; parts <= kMaxParts; ++parts) {
    const int64_t each = part_channels(channels, parts);
    int64_t worst = 0;
    for (int64_t n = 0; n < m.columns; ++n)
      for (int64_t from = 0; from < channels; from += each) {
        int64_t sum = 0;
        for (int64_t tap = 0; tap < 9; ++tap)
          for (int64_t c = from; c < std::min(channels, from + each); ++c)
            sum += std::abs(codes[(n * 9 + tap) * channels + c] - m.zero_points[n]);
        worst = std::max(worst, sum);
      }
    if (worst <= limit) return static_cast<int>(ceil_div(channels, each));
  }
  return 0;
}

struct Proof {
  int parts2, parts4;
};

std::shared_ptr<const Proof> prove(const PackedConv& w, const KernelTable&) {
  const WeightCodes codes = w.codes();
  return std::make_shared<Proof>(Proof{exact_parts(w, codes, kScheme2), exact_parts(w, codes, kScheme4)});
}

// Transformed weights: int16 [panel][P][group][panel columns][kGroup], zero points subtracted, 0 where there is no
// channel. |u| <= 49 * 255 (7 is the largest row sum of |G|), which int16 holds.
struct Transformed {
  StoragePtr u;
  int64_t groups, part_groups, padded;  // input groups, of one part; output channels in whole panels
  int parts;
  std::vector<int32_t> sums;  // [parts][padded]: sum of w - zw
};

template <const Scheme& scheme>
std::shared_ptr<const Transformed> transform(const PackedConv& w, const KernelTable& table) {
  const WeightMatrix& m = w.matrix();
  const WeightCodes codes = w.codes();
  constexpr int kRows = scheme.rows, kProducts = kRows * kRows;
  const int64_t channels = m.k / 9, group = table.winograd4.group, panel = 2 * table.tile.lanes;
  auto t = std::make_shared<Transformed>();
  t->parts = exact_parts(w, codes, scheme);
  t->groups = ceil_div(channels, group);
  t->padded = round_up(m.columns, panel);
  const int64_t each = t->parts == 1 ? channels : part_channels(channels, t->parts);
  t->part_groups = ceil_div(each, group);
  t->sums.assign(t->parts * t->padded, 0);
  const int64_t step = panel * group;
  t->u = allocate(t->padded * kProducts * t->groups * group * 2);
  auto* u = reinterpret_cast<int16_t*>(t->u.get());
  // A panel's columns and a group's channels at a time, side by side as they are stored: vectors of both directions'
  // sums. All of them fit int16.
  std::vector<int16_t> work((9 + 3 * kRows) * step);
  int16_t *d = work.data(), *half = d + 9 * step;
  const auto combine = [step](const int8_t* row, const int16_t* x, int64_t apart, int16_t* to) {
    for (int64_t i = 0; i < step; ++i)
      to[i] = static_cast<int16_t>(row[0] * x[i] + row[1] * x[apart + i] + row[2] * x[2 * apart + i]);
  };
  for (int64_t n = 0; n < t->padded; n += panel)
    for (int64_t c = 0; c < t->groups * group; c += group) {
      if (n + panel > m.columns || c + group > channels) std::fill_n(d, 9 * step, int16_t{0});
      for (int64_t j = 0; j < std::min(panel, m.columns - n); ++j)
        for (int64_t i = 0; i < std::min(group, channels - c); ++i)
          for (int64_t tap = 0; tap < 9; ++tap) {
            const int32_t w = codes[((n + j) * 9 + tap) * channels + c + i] - m.zero_points[n + j];
            d[tap * step + j * group + i] = static_cast<int16_t>(w);
            t->sums[(c + i) / each * t->padded + n + j] += w;
          }
      int16_t* to = u + (n / panel * kProducts * t->groups + c / group) * step;
      for (int i = 0; i < kRows; ++i) {
        for (int j = 0; j < 3; ++j) combine(scheme.g[i], d + j * step, 3 * step, half + (i * 3 + j) * step);
        for (int j = 0; j < kRows; ++j, to += t->groups * step) combine(scheme.g[j], half + i * 3 * step, step, to);
      }
    }
  return t;
}

}  // namespace

ConvChoice algorithm_of(const PackedConv& w, int64_t batch, const Triple& size, const KernelTable& table) {
  const Triple out = w.output_size(size);
  ConvWork work{.winograd = w.kernel == Triple{1, 3, 3} && w.step == Triple{1, 1, 1} && w.reach[1] == 1 &&
                            w.reach[2] == 1 && w.upsample == Triple{1, 1, 1} && w.lead[0] == 0 && size[0] == 1 &&
                            w.groups == 1 && w.matrix().k > 0,
                .images = batch,
                .height = out[1],
                .width = out[2],
                .in = w.matrix().k / 9,
                .out = w.matrix().columns,
                .parts2 = 0,
                .parts4 = 0};
  if (work.winograd) {
    const auto proof = w.form(table, &prove);
    work.parts2 = proof->parts2;
    work.parts4 = proof->parts4;
  }
  return choose_conv(work, table);
}

void winograd(const Geometry& g, const KernelTable& table, const ConvChoice& choice, const Epilogue& epilogue,
              const QParams& qparams, bool relu, uint8_t* out) {
  const bool four = choice.algorithm == ConvAlgorithm::winograd4;
  const WinogradKernels& kernels = four ? table.winograd4 : table.winograd2;
  const auto t = g.w.form(table, four ? &transform<kScheme4> : &transform<kScheme2>);
  const int64_t products = int64_t{kernels.out + 2} * (kernels.out + 2), panel = 2 * table.tile.lanes;
  const int64_t columns = g.w.matrix().columns, panels = t->padded / panel;

  // The middle of a sum's range, for codes in [qmin, qmax]: half of (qmin + qmax - 2 za) * sum (w - zw), rounded down.
  const DTypeInfo& type = info(g.is_signed ? DType::qint8 : DType::quint8);
  std::vector<int32_t> centre(t->sums.size()), bias(t->padded);
  std::vector<float> multiplier(t->padded);
  std::copy_n(epilogue.bias.begin(), columns, bias.begin());
  std::copy_n(epilogue.multiplier.begin(), columns, multiplier.begin());
  for (size_t i = 0; i < centre.size(); ++i) {
    centre[i] = static_cast<int32_t>((type.qmin + type.qmax - 2 * g.zero_point) * int64_t{t->sums[i]} >> 1);
    int32_t& b = bias[i % t->padded];
    b = static_cast<int32_t>(static_cast<uint32_t>(b) + static_cast<uint32_t>(centre[i]));
  }
  const Requantize requantize = requantize_of(epilogue, qparams, relu, 0);

  const int64_t tile_rows = ceil_div(g.out_size[1], kernels.out), tile_columns = ceil_div(g.out_size[2], kernels.out);
  const int64_t tiles = g.batch * tile_rows * tile_columns;
  // Planes an odd number of cache lines apart do not fight for the same cache sets.
  const int64_t v_row = round_up(g.channels, kernels.vector);
  const int64_t fit = kBlockBytes / (products * v_row * 2);
  int64_t blocks = ceil_div(tiles, std::clamp<int64_t>(fit, table.tile.rows, kMaxBlockTiles));
  const int64_t block = ceil_div(tiles, blocks);
  blocks = ceil_div(tiles, block);
  const int64_t v_plane = round_up(block * v_row, 64) | 32, v_bytes = products * v_plane * 2;
  const int64_t m_plane = (block | 1) * panel, m_bytes = t->parts * products * m_plane * 4;

  const auto args = [&](int64_t b, int64_t j, int64_t wide, uint8_t* v, uint8_t* m) {
    Requantize here = requantize;
    here.bias = bias.data() + j * panel;
    here.multiplier = multiplier.data() + j * panel;
    return WinogradArgs{
        .x = g.x,
        .image_stride = g.image_stride,
        .row_stride = g.stride[1],
        .column_stride = g.stride[2],
        .height = g.size[1],
        .width = g.size[2],
        .channels = g.channels,
        .lead_height = g.w.lead[1],
        .lead_width = g.w.lead[2],
        .is_signed = g.is_signed,
        .zero_point = g.zero_point,
        .tile_rows = tile_rows,
        .tile_columns = tile_columns,
        .first = b * block,
        .count = std::min(block, tiles - b * block),
        .v = reinterpret_cast<int16_t*>(v),
        .v_plane = v_plane,
        .v_row = v_row,
        .u = reinterpret_cast<const int16_t*>(t->u.get()) + j * products * t->groups * panel * kernels.group,
        .groups = t->groups,
        .part_groups = t->part_groups,
        .columns = std::min(wide * panel, columns - j * panel),
        .centre = centre.data() + j * panel,
        .parts = t->parts,
        .centre_stride = t->padded,
        .m = reinterpret_cast<int32_t*>(m),
        .m_plane = m_plane,
        .requantize = here,
        .out = out + j * panel,
        .out_height = g.out_size[1],
        .out_width = g.out_size[2],
        .out_channels = columns};
  };
  struct Block;   // a task's
  struct Shared;  // transformed by some tasks, multiplied by others
  const int64_t threads = threads_for(tiles * products * g.channels * columns);
  const int64_t pieces = threads == 1 ? 1 : ceil_div(kTasksPerThread * threads, blocks);
  if (pieces == 1) {  // enough blocks for all threads: each is transformed and multiplied by one of them
    const auto whole = [&](int64_t b) {
      uint8_t* memory = scratch<Block, uint8_t>(v_bytes + m_bytes);
      const WinogradArgs a = args(b, 0, panels, memory, memory + v_bytes);
      kernels.input(a);
      kernels.output(a);
    };
    return run_tasks(blocks, threads, whole);
  }
  uint8_t* v = scratch<Shared, uint8_t>(blocks * v_bytes);
  const int64_t some = ceil_div(block, pieces), wide = ceil_div(panels, pieces);
  parallel_for(blocks * pieces, [&](int64_t task) {
    const int64_t b = task / pieces, from = task % pieces * some;
    WinogradArgs a = args(b, 0, panels, v + b * v_bytes, nullptr);
    a.count = std::min(some, a.count - from);
    a.first += from;
    a.v += from * v_row;
    kernels.input(a);
  });
  parallel_for(blocks * pieces, [&](int64_t task) {
    const int64_t b = task / pieces, j = task % pieces * wide;
    if (j < panels) kernels.output(args(b, j, wide, v + b * v_bytes, scratch<Block, uint8_t>(m_bytes)));
  });
}

}  // namespace octensor::ops
