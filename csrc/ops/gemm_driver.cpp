#include "ops/gemm_driver.h"

#include <algorithm>
#include <cstring>

#include "core/threads.h"

namespace octensor {
namespace {

constexpr int64_t kBlockBytes = 192 * 1024;  // packed activations per block: well inside a 512 KiB L2
constexpr int64_t kMaxBlockRows = 96;
constexpr int64_t kSerialWork = 1 << 16;  // multiply-adds below which waking a thread costs more

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Grows, never shrinks: one per thread, so that a steady network allocates nothing.
template <class T>
T* scratch(int64_t n) {
  thread_local StoragePtr buffer;
  thread_local int64_t size = 0;
  if (size < n) {
    buffer = allocate(n * sizeof(T));
    size = n;
  }
  return reinterpret_cast<T*>(buffer.get());
}

}  // namespace

Requantize requantize_of(const Epilogue& epilogue, const QParams& qparams, bool relu, int64_t first_channel) {
  const DTypeInfo& t = info(qparams.dtype());
  const int32_t z = qparams.zero_point();
  return {.bias = epilogue.bias.data() + first_channel,
          .multiplier = epilogue.multiplier.data() + first_channel,
          .lo = relu ? 0.0f : static_cast<float>(t.qmin - z),
          .hi = static_cast<float>(t.qmax - z),
          .zero_point = z};
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
  // Flipping the top bit adds 128 to a signed code and takes 128 from an unsigned one.
  const int32_t flip = is_signed == table.tile.signed_bytes ? 0 : is_signed ? 128 : -128;
  packed_zero = table.tile.activation == 1 ? zero_point + flip : 0;
}

void run_gemm(const CodePacker& packer, const PackedWeight& weight, int64_t rows, const RowPacker& pack,
              const GemmOutput& out) {
  const KernelTable& table = packer.table;
  const WeightMatrix& m = weight.matrix();
  const GemmTile tile = table.tile;
  if (rows == 0 || m.columns == 0) return;
  const auto panels = weight.panels(table);
  const int64_t k_groups = (m.k + tile.group - 1) / tile.group;
  // 64 bytes more than needed keep rows off the same cache sets when k is a power of two.
  const int64_t line = 64 / tile.activation;
  const int64_t lda = round_up(std::max<int64_t>(m.k, 1), line) + line;
  const int64_t fit = kBlockBytes / (lda * tile.activation);
  const int64_t block =
      std::min(rows, std::clamp(fit / tile.rows * tile.rows, int64_t{tile.rows}, round_up(kMaxBlockRows, tile.rows)));
  const int64_t blocks = (rows + block - 1) / block, panel_count = (m.columns + tile.panel - 1) / tile.panel;

  const int threads = rows * m.columns * m.groups * std::max<int64_t>(m.k, 1) < kSerialWork ? 1 : num_threads();
  const int64_t wanted = threads == 1 ? 1 : (4 * threads + blocks * m.groups - 1) / (blocks * m.groups);
  const int64_t chunk = (panel_count + wanted - 1) / wanted, chunks = (panel_count + chunk - 1) / chunk;

  // Packed bytes still hold their zero point: sum (a - za) w = sum a w - za sum w. One padded row per group.
  const bool bytes = tile.activation == 1;
  const int64_t padded = panel_count * tile.panel;
  std::vector<int32_t> offsets(bytes ? padded * m.groups : 0);
  for (int64_t g = 0; bytes && g < m.groups; ++g)
    for (int64_t c = 0; c < m.columns; ++c)
      offsets[g * padded + c] = static_cast<int32_t>(static_cast<uint32_t>(-packer.packed_zero) *
                                                     static_cast<uint32_t>(m.weight_sums[g * m.columns + c]));

  auto task = [&](int64_t index) {
    const int64_t g = index % m.groups, c = index / m.groups % chunks, r = index / m.groups / chunks * block;
    const int64_t n = std::min(block, rows - r), j = c * chunk * tile.panel;
    const int64_t row_bytes = lda * tile.activation, tail = round_up(m.k, tile.group) - m.k;
    uint8_t* a = scratch<uint8_t>(n * row_bytes);
    for (int64_t i = 0; i < n; ++i) {
      pack(r + i, g, a + i * row_bytes);
      std::memset(a + i * row_bytes + m.k * tile.activation, 0, tail * tile.activation);
    }
    int32_t* sums = scratch<int32_t>(n * (tile.panel + 1));
    const int64_t first = g * m.columns + j;
    GemmArgs args{.a = a,
                  .rows = n,
                  .lda = lda,
                  .b = reinterpret_cast<const int8_t*>(panels->values.get()) + g * panels->group_bytes +
                       j * k_groups * tile.group,
                  .columns = std::min(chunk * tile.panel, m.columns - j),
                  .groups = k_groups,
                  .row_sums = nullptr,
                  .weight_zero = nullptr,
                  .column_offset = bytes ? offsets.data() + g * padded + j : nullptr,
                  .requantize = {},
                  .codes = nullptr,
                  .sums = nullptr,
                  .reals = nullptr,
                  .real = {},
                  .ldc = out.stride,
                  .scratch = sums};
    if (m.asymmetric) {
      int32_t* row_sums = sums + n * tile.panel;
      for (int64_t i = 0; i < n; ++i) {
        int32_t s = 0;
        for (int64_t k = 0; k < m.k; ++k)
          s += (!bytes              ? reinterpret_cast<const int16_t*>(a + i * row_bytes)[k]
                : tile.signed_bytes ? reinterpret_cast<const int8_t*>(a + i * row_bytes)[k]
                                    : a[i * row_bytes + k]) -
               packer.packed_zero;
        row_sums[i] = s;
      }
      args.row_sums = row_sums;
      args.weight_zero = m.zero_points.data() + first;
    }
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
  const int64_t tasks = blocks * chunks * m.groups;
  if (threads == 1)
    for (int64_t i = 0; i < tasks; ++i) task(i);
  else
    parallel_for(tasks, task);
}

}  // namespace octensor
