// The one loop around the float GEMM kernel: blocks of rows times chunks of panels, as tasks for threads.
#pragma once
#include <algorithm>

#include "core/scratch.h"
#include "kernels/float_table.h"
#include "kernels/table.h"
#include "ops/tasks.h"

namespace octensor::ops {

// `rows(first, n)` gives the place of rows [first, first + n), g.ldx apart; it is called by the thread that multiplies
// them, and what it returns must stay until its next call there. `g` is filled in but for x and rows; w, bias and out
// stand at column 0, out at row 0.
template <class Rows>
void run_float_gemm(const KernelTable& table, const FloatGemmArgs& g, int64_t rows, const Rows& rows_at) {
  if (rows == 0 || g.columns == 0) return;
  // A block of rows stays in the L2 cache while all panels pass.
  constexpr int64_t kBlockBytes = 512 * 1024, kLeast = 24;
  const int64_t fit = kBlockBytes / 4 / std::max<int64_t>(g.k, 1) / 12 * 12;
  const int threads = threads_for(rows * g.columns * std::max<int64_t>(g.k, 1));
  int64_t block = std::clamp<int64_t>(fit, kLeast, kFloatGemmRows);
  if (ceil_div(rows, block) < 2 * threads)
    block = std::clamp<int64_t>(round_up(ceil_div(rows, 2 * threads), 12), 1, block);
  const int64_t blocks = ceil_div(rows, block), panel = table.floats->panel;
  const PanelChunks cut(ceil_div(g.columns, panel), blocks, threads);
  run_tasks(blocks * cut.chunks, threads, [&](int64_t task) {
    const int64_t first = task / cut.chunks * block, j = task % cut.chunks * cut.panels * panel;
    FloatGemmArgs part = g;
    part.rows = std::min(block, rows - first);
    part.x = rows_at(first, part.rows);
    part.w = g.w + j * (g.packed ? g.k : g.column_stride);
    part.columns = std::min(cut.panels * panel, g.columns - j);
    part.bias = g.bias ? g.bias + j : nullptr;
    part.out = g.out + first * g.ldo + j;
    table.floats->gemm(part);
  });
}

}  // namespace octensor::ops
