// The input's part of the gates does not depend on the state: it is one product over a block of steps, as large as
// stays in the cache. The hidden state's part is a product per step, whose bound with few sequences is reading the
// weights once; the gates of a step then wait in the L1 or L2 cache for the cell.
#include "ops/recurrent.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/scratch.h"
#include "core/threads.h"
#include "isa/dispatch.h"
#include "ops/dynamic.h"

namespace octensor::ops {
namespace {

constexpr int64_t kBlockBytes = 1 << 22;     // the input's part of the gates, for a block of steps
constexpr int64_t kParallelCells = 1 << 13;  // cells below which waking a thread costs more than their step

void step(RecurrentCell cell, const float* gi, const float* gh, int64_t rows, int64_t hidden, float* h, float* c) {
  const KernelTable& table = kernel_table();
  const int64_t width = gates_of(cell) * hidden;
  auto row = [&](int64_t i) {
    table.recurrent_cell(cell, gi + i * width, gh + i * width, hidden, h + i * hidden, c ? c + i * hidden : nullptr);
  };
  if (rows * hidden < kParallelCells)
    for (int64_t i = 0; i < rows; ++i) row(i);
  else
    parallel_for(rows, std::ref(row));
}

}  // namespace

int64_t gates_of(RecurrentCell cell) { return cell == RecurrentCell::lstm ? 4 : cell == RecurrentCell::gru ? 3 : 1; }

void recurrent(const Recurrence& layer, const float* x, const std::vector<int64_t>& sizes, bool backward, float* h,
               float* c, float* out, int64_t out_stride) {
  struct InputPart;
  struct HiddenPart;
  const int64_t inputs = layer.input.matrix().k, hidden = layer.hidden.matrix().k, width = layer.input.matrix().columns;
  const int64_t rows = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  const auto steps = static_cast<int64_t>(sizes.size());
  const DynamicParams whole = dynamic_params_of("recurrent: input", x, rows * inputs, layer.reduce_range);
  const DynamicProduct of_input{.weight = layer.input, .shared = &whole, .where = "recurrent: input"};
  const int64_t most = kBlockBytes / static_cast<int64_t>(sizeof(float)) / std::max<int64_t>(width, 1);

  // `t` counts steps in the order in which they are taken, `row` is the first row of x of the last one taken.
  auto size = [&](int64_t t) { return sizes[backward ? steps - 1 - t : t]; };
  int64_t row = backward ? rows : 0;
  for (int64_t t = 0; t < steps;) {
    int64_t block_steps = 1, block_rows = size(t);
    while (t + block_steps < steps && block_rows + size(t + block_steps) <= most) block_rows += size(t + block_steps++);
    const int64_t block_begin = backward ? row - block_rows : row;
    float* gi = scratch<InputPart, float>(block_rows * width);
    dynamic_product(of_input, x + block_begin * inputs, block_rows, gi);
    for (const int64_t end = t + block_steps; t < end; ++t) {
      const int64_t n = size(t);
      const int64_t at = backward ? row - n : row;
      float* gh = scratch<HiddenPart, float>(n * width);
      const DynamicParams state = dynamic_params_of("recurrent: hidden state", h, n * hidden, layer.reduce_range);
      // To and fro: the weights that the last step read last are still in the L2 cache.
      dynamic_product(
          {.weight = layer.hidden, .shared = &state, .backward = t % 2 != 0, .where = "recurrent: hidden state"}, h, n,
          gh);
      step(layer.cell, gi + (at - block_begin) * width, gh, n, hidden, h, c);
      for (int64_t i = 0; out && i < n; ++i)
        std::memcpy(out + (at + i) * out_stride, h + i * hidden, hidden * sizeof(float));
      row = backward ? at : at + n;
    }
  }
}

}  // namespace octensor::ops
