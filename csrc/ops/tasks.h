// How a product is cut into tasks for threads.
#pragma once
#include <functional>

#include "core/integers.h"
#include "core/threads.h"

namespace octensor {

// 1 below `serial` multiply-adds, where waking a thread costs more than it saves.
inline int threads_for(int64_t multiply_adds, int64_t serial = 1 << 16) {
  return multiply_adds < serial ? 1 : num_threads();
}

// task(0) ... task(n - 1), on the caller alone with one thread.
template <class Task>
void run_tasks(int64_t n, int64_t threads, const Task& task) {
  if (threads == 1)
    for (int64_t i = 0; i < n; ++i) task(i);
  else
    parallel_for(n, std::cref(task));
}

// each(0) ... each(rows - 1), `some` of them (or one) to a task.
template <class Each>
void run_rows(int64_t rows, int64_t some, int64_t threads, const Each& each) {
  some = some > 1 ? some : 1;
  run_tasks(ceil_div(rows, some), threads, [&](int64_t task) {
    const int64_t end = (task + 1) * some < rows ? (task + 1) * some : rows;
    for (int64_t row = task * some; row < end; ++row) each(row);
  });
}

// Where blocks of rows are fewer than four tasks per thread, each takes its panels chunk by chunk.
struct PanelChunks {
  int64_t panels, chunks;  // per chunk; per block

  PanelChunks(int64_t panel_count, int64_t blocks, int64_t threads) {
    panels = ceil_div(panel_count, threads == 1 ? 1 : ceil_div(4 * threads, blocks));
    chunks = ceil_div(panel_count, panels);
  }
};

}  // namespace octensor
