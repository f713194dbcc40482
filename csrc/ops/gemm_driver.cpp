#include "ops/gemm_driver.h"

#include <algorithm>
#include <cstring>

#include "core/scratch.h"
#include "ops/tasks.h"

namespace octensor {
namespace {

constexpr int64_t kBlockBytes = 512 * 1024;  // packed activations per block
constexpr int64_t kMaxBlockRows = 192;

}  // namespace

Requantize requantize_of(const Epilogue& epilogue, const QParams& qparams, bool relu, int64_t first_channel) {
  const DTypeInfo& t = info(qparams.dtype());
  const int32_t z = qparams.zero_point();
  return {.bias = epilogue.bias.data() + first_channel,
          .multiplier = epilogue.multiplier.data() + first_channel,
          .lo = relu ? 0.0f : static_cast<float>(t.qmin - z),
          .hi = static_cast<float>(t.qmax - z),
          .zero_point = z,
          .within = epilogue.within};
}

RealEpilogue at(const RealEpilogue& e, int64_t row, int64_t column) {
  return {.column_scale = e.column_scale + column,
          .bias = e.bias ? e.bias + column : nullptr,
          .row_scale = e.row_scale + row,
          .row_zero = e.row_zero ? e.row_zero + row : nullptr,
          .column_sum = e.row_zero ? e.column_sum + column : nullptr,
          .relu = e.relu};
}

CodePacker::CodePacker(const KernelTable& table_, bool is_signed_, int32_t zero_point_)
    : table(table_), is_signed(is_signed_), zero_point(zero_point_) {
  packed_zero = table.tile.activation == 1 ? zero_point + byte_shift(is_signed, table.tile.signed_bytes) : 0;
}

namespace {

// How the product is cut into tasks: blocks of rows, and within them chunks of panels where there are too few.
struct Blocking {
  int64_t rows, blocks, panels, chunks;  // rows per block, panels per chunk
  int threads;
};

Blocking choose_blocking(const GemmTile& tile, const WeightMatrix& m, int64_t rows, int64_t row_bytes) {
  const int threads = threads_for(rows * m.columns * m.groups * std::max<int64_t>(m.k, 1));
  const int64_t most = std::clamp(kBlockBytes / row_bytes / tile.rows * tile.rows, int64_t{tile.rows},
                                  round_up(kMaxBlockRows, tile.rows));
  int64_t blocks = ceil_div(rows, most);
  if (blocks * m.groups > 1) blocks = round_up(blocks * m.groups, threads) / m.groups;  // no thread idles in the end
  const int64_t block = round_up(ceil_div(rows, blocks), tile.rows);
  blocks = ceil_div(rows, block);
  const int64_t all_panels = ceil_div(m.columns, tile.panel);
  if (rows * m.groups == 1) {  // a chunk of its own to each thread, of whole fours of vectors
    const int64_t panels = round_up(ceil_div(all_panels, threads), 4 * tile.lanes / tile.panel);
    return {block, 1, panels, ceil_div(all_panels, panels), threads};
  }
  const PanelChunks cut(all_panels, blocks * m.groups, threads);
  return {block, blocks, cut.panels, cut.chunks, threads};
}

// sum over k of code minus zero point, of one packed row.
int32_t row_sum(const GemmTile& tile, const uint8_t* row, int64_t k, int32_t packed_zero) {
  int32_t s = 0;
  for (int64_t i = 0; i < k; ++i)
    s += (tile.activation == 2 ? reinterpret_cast<const int16_t*>(row)[i]
          : tile.signed_bytes  ? reinterpret_cast<const int8_t*>(row)[i]
                               : row[i]) -
         packed_zero;
  return s;
}

}  // namespace

void run_gemm(const CodePacker& packer, const PackedWeight& weight, int64_t rows, const GemmRows& from,
              const GemmOutput& out) {
  const KernelTable& table = packer.table;
  const WeightMatrix& m = weight.matrix();
  const GemmTile tile = table.tile;
  if (rows == 0 || m.columns == 0) return;
  const auto panels = weight.panels(table);
  const int64_t k_groups = ceil_div(m.k, tile.group);
  // 64 bytes more than needed keep rows off the same cache sets when k is a power of two.
  const int64_t line = 64 / tile.activation;
  const int64_t row_bytes = (round_up(std::max<int64_t>(m.k, 1), line) + line) * tile.activation;
  const bool mixed = tile.mixed_block > 0, bytes = tile.activation == 1;
  // Bytes whose signedness fits need no packing, unless rows would share too few cache sets or end within a group.
  const bool in_place = from.codes && m.groups == 1 && bytes && packer.is_signed == tile.signed_bytes &&
                        m.k % tile.group == 0 && (from.stride % 1024 || mixed || rows == 1);
  const int64_t mixed_row = std::max<int64_t>(k_groups, 1) * tile.group;
  const Blocking cut = choose_blocking(tile, m, rows, mixed ? mixed_row : row_bytes);

  struct Rows;  // of a task
  auto task = [&](int64_t index) {
    const int64_t g = index % m.groups, c = index / m.groups % cut.chunks, r = index / m.groups / cut.chunks * cut.rows;
    const int64_t n = std::min(cut.rows, rows - r), j = c * cut.panels * tile.panel;
    const int64_t first = g * m.columns + j, panel = g * ceil_div(m.columns, tile.panel) + c * cut.panels;
    const int64_t blocks = mixed ? ceil_div(k_groups, tile.mixed_block) : 0;
    // Scratch: the sums of two vectors of columns, a sum per row, packed rows, and tiles or one row as the mixed GEMM
    // reads them.
    const int64_t sum_bytes = round_up(n * (2 * tile.lanes + 1) * sizeof(int32_t), 64);
    const bool few = n <= tile.few_rows;
    const int64_t height = few ? 1 : mixed ? table.tile_height(n) : n;
    const int64_t tile_bytes = few ? round_up(2 * mixed_row + 4, 64) : mixed ? tile.rows * mixed_row : 0;
    const int64_t packed_rows = in_place ? 0 : height, tiles_bytes = ceil_div(n, height) * tile_bytes;
    uint8_t* memory = scratch<Rows, uint8_t>(sum_bytes + packed_rows * row_bytes + tiles_bytes);
    auto* sums = reinterpret_cast<int32_t*>(memory);
    int32_t* row_sums = sums + n * 2 * tile.lanes;
    uint8_t *packed = memory + sum_bytes, *tiles = packed + packed_rows * row_bytes;
    const int64_t tail = (round_up(m.k, tile.group) - m.k) * tile.activation;
    for (int64_t i = 0; i < n; i += height) {
      const int64_t some = std::min(n - i, height);
      const uint8_t* a = in_place ? from.codes + (r + i) * from.stride : packed;
      const int64_t stride = in_place ? from.stride : row_bytes;
      if (!in_place) {
        from.pack(r + i, some, g, packed, row_bytes);
        for (int64_t t = 0; tail && t < some; ++t) std::memset(packed + t * row_bytes + m.k * tile.activation, 0, tail);
      }
      for (int64_t t = 0; m.asymmetric && t < some; ++t)
        row_sums[i + t] = row_sum(tile, a + t * stride, m.k, packer.packed_zero);
      if (few)
        table.pack_row(a, k_groups, tiles + i * tile_bytes);
      else if (mixed)
        table.pack_tile(a, stride, some, k_groups, tiles + i / height * tile_bytes);
    }
    GemmArgs args{.a = mixed      ? tiles
                       : in_place ? from.codes + r * from.stride
                                  : packed,
                  .rows = n,
                  .lda = few     ? tile_bytes
                         : mixed ? mixed_row
                                 : (in_place ? from.stride : row_bytes) / tile.activation,
                  .b = reinterpret_cast<const int8_t*>(panels->values.get()) + g * panels->group_bytes +
                       j * k_groups * tile.group,
                  .columns = std::min(cut.panels * tile.panel, m.columns - j),
                  .groups = k_groups,
                  .order = mixed ? panels->order.data() + panel * k_groups : nullptr,
                  .ends = mixed ? panels->ends.data() + 3 * panel * blocks : nullptr,
                  .flipped_sums = mixed ? panels->flipped_sums.data() + first : nullptr,
                  .code_zero = packer.packed_zero,
                  .weight_sums = bytes ? m.weight_sums.data() + first : nullptr,
                  .row_sums = m.asymmetric ? row_sums : nullptr,
                  .weight_zero = m.asymmetric ? m.zero_points.data() + first : nullptr,
                  .requantize = {},
                  .codes = nullptr,
                  .sums = nullptr,
                  .reals = nullptr,
                  .real = {},
                  .ldc = out.stride,
                  .scratch = sums,
                  .backward = out.backward};
    if (out.codes) {
      args.codes = out.codes + r * out.stride + first;
      args.requantize = requantize_of(*out.epilogue, *out.qparams, out.relu, first);
    } else if (out.sums) {
      args.sums = out.sums + r * out.stride + first;
    } else {
      args.reals = out.reals + r * out.stride + first;
      args.real = at(*out.real, r, first);
    }
    table.gemm(args);
  };
  const int64_t tasks = cut.blocks * cut.chunks * m.groups;
  run_tasks(tasks, cut.threads, task);
}

}  // namespace octensor
