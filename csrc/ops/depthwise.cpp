#include "ops/depthwise.h"

#include <algorithm>

#include "core/scratch.h"
#include "ops/depthwise_plan.h"
#include "ops/gemm_driver.h"
#include "ops/tasks.h"

namespace octensor::ops {
namespace {

constexpr int64_t kTaskWork = 1 << 15;  // multiply-adds below which fetching a task costs too much

}  // namespace

void depthwise(const Geometry& g, const KernelTable& table, const std::shared_ptr<const Epilogue>& epilogue,
               const QParams& qparams, bool relu, uint8_t* out) {
  const PackedConv& w = g.w;
  const auto call = depthwise_call(g, table, epilogue);
  const DepthwisePlan& plan = *call->plan;
  Requantize requantize = requantize_of(*epilogue, qparams, relu, 0);
  requantize.bias = call->bias.data();
  requantize.multiplier = call->multiplier.data();

  // Tasks: some lines, of some blocks of channels. A last block that overlaps goes with the one before it.
  const int64_t lines = g.batch * g.out_size[0] * g.out_size[1],
                units = std::max<int64_t>(1, g.channels / kDepthwiseChannels);
  const int64_t work = lines * g.out_size[2] * g.channels * w.matrix().k;
  const int64_t threads = threads_for(work);
  const int64_t wanted = std::max<int64_t>(1, std::min(8 * threads, work / kTaskWork));
  const int64_t line_tasks = std::min(lines, threads == 1 ? lines : wanted);
  const int64_t chunks = threads == 1 ? 1 : std::min(units, (wanted + line_tasks - 1) / line_tasks);
  const auto task = [&](int64_t index) {
    const int64_t l = index / chunks, c = index % chunks;
    const int64_t first = lines * l / line_tasks, count = lines * (l + 1) / line_tasks - first;
    const int64_t addresses = call->window ? 3 * ((g.out_size[2] - 1) * w.step[2] + 4) : 0;
    struct Rows;
    struct Cells;
    const uint8_t** rows = scratch<Rows, const uint8_t*>(count * plan.row_taps + addresses);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t line = first + i, o0 = line / g.out_size[1] % g.out_size[0], o1 = line % g.out_size[1];
      const uint8_t* image = g.x + line / g.out_size[1] / g.out_size[0] * g.image_stride;
      for (int64_t r = 0; r < plan.row_taps; ++r) {
        const int64_t i0 = g.source(0, o0, r / w.kernel[1]), i1 = g.source(1, o1, r % w.kernel[1]);
        rows[i * plan.row_taps + r] = i0 < 0 || i1 < 0 ? call->padding : image + i0 * g.stride[0] + i1 * g.stride[1];
      }
    }
    table.depthwise({.lines = count,
                     .rows = rows,
                     .row_taps = plan.row_taps,
                     .offsets = call->offsets.data(),
                     .first_column = call->first_column,
                     .column_stride = g.stride[2],
                     .step = w.step[2],
                     .padding = call->padding,
                     .streams = call->streams.data(),
                     .stream_count = static_cast<int64_t>(call->streams.size()),
                     .cells = call->cells.data(),
                     .steps = static_cast<int64_t>(call->cells.size()),
                     .weights = plan.weights.get(),
                     .channels = g.channels,
                     .first_block = units * c / chunks,
                     .last_block = c + 1 == chunks ? plan.blocks : units * (c + 1) / chunks,
                     .is_signed = g.is_signed,
                     .requantize = requantize,
                     .out = out + first * g.out_size[2] * g.channels,
                     .width = g.out_size[2],
                     .segment = call->segment,
                     .blocks = call->blocks,
                     .cell_count = call->cell_count,
                     .buffer = call->window ? nullptr : scratch<Cells, uint8_t>(call->buffer_bytes),
                     .window = call->window,
                     .lead = w.lead[2],
                     .columns = g.size[2],
                     .addresses = rows + count * plan.row_taps});
  };
  run_tasks(line_tasks * chunks, threads, task);
}

}  // namespace octensor::ops
