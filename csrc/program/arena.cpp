// Offsets of buffers are a packing of rectangles, lifetime by size, for which no fast exact method is known. Buffers
// are placed one after the other into the smallest gap, between those placed already and alive at the same time, that
// holds them; the order decides. Large ones first is nearly always best, long-lived ones first and the order of time
// sometimes: the best of several orders is taken, and when none reaches the bound, buffers that stick out at the top
// are tried earlier.
#include "program/arena.h"

#include <algorithm>
#include <numeric>

#include "core/integers.h"
#include "core/storage.h"

namespace octensor::program {
namespace {

bool meet(const Lifetime& a, const Lifetime& b) { return a.first <= b.last && b.first <= a.last; }

Arena place(const std::vector<Lifetime>& buffers, const std::vector<int>& order) {
  Arena arena{.offsets = std::vector<int64_t>(buffers.size(), 0)};
  std::vector<int> placed, near;
  for (int i : order) {
    const Lifetime& b = buffers[i];
    near.clear();
    for (int j : placed)
      if (meet(b, buffers[j])) near.push_back(j);
    std::sort(near.begin(), near.end(), [&](int x, int y) { return arena.offsets[x] < arena.offsets[y]; });
    int64_t end = 0, best = -1, best_gap = INT64_MAX;
    for (int j : near) {
      const int64_t gap = arena.offsets[j] - end;
      if (gap >= b.bytes && gap < best_gap) best = end, best_gap = gap;
      end = std::max(end, arena.offsets[j] + buffers[j].bytes);
    }
    arena.offsets[i] = best >= 0 ? best : end;
    arena.peak = std::max(arena.peak, arena.offsets[i] + b.bytes);
    if (b.bytes > 0) placed.push_back(i);
  }
  return arena;
}

int64_t largest_set(const std::vector<Lifetime>& buffers) {
  int steps = 0;
  for (const Lifetime& b : buffers) steps = std::max(steps, b.last + 1);
  std::vector<int64_t> live(steps + 1, 0);
  for (const Lifetime& b : buffers) {
    live[b.first] += b.bytes;
    live[b.last + 1] -= b.bytes;
  }
  int64_t now = 0, most = 0;
  for (int64_t change : live) most = std::max(most, now += change);
  return most;
}

}  // namespace

Arena plan_arena(std::vector<Lifetime> buffers) {
  constexpr int kRounds = 32;
  for (Lifetime& b : buffers) b.bytes = round_up(b.bytes, int64_t{kAlignment});
  const int64_t live = largest_set(buffers);
  std::vector<int> order(buffers.size());
  std::iota(order.begin(), order.end(), 0);
  Arena best;
  std::vector<int> best_order;
  const auto attempt = [&](const std::vector<int>& by) {
    Arena found = place(buffers, by);
    if (best_order.empty() || found.peak < best.peak) best = std::move(found), best_order = by;
  };
  const auto attempt_by = [&](auto key) {
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return key(buffers[a]) > key(buffers[b]); });
    attempt(order);
  };
  attempt_by([](const Lifetime& b) { return -b.first; });
  attempt_by([](const Lifetime& b) { return b.last - b.first; });
  attempt_by([](const Lifetime& b) { return b.bytes * (b.last - b.first + 1); });
  attempt_by([](const Lifetime& b) { return b.bytes; });
  for (int round = 0; round < kRounds && best.peak > live; ++round) {
    // Whoever reaches the top comes first in the next attempt.
    std::vector<int> next = best_order;
    std::stable_partition(next.begin(), next.end(),
                          [&](int i) { return best.offsets[i] + buffers[i].bytes == best.peak && buffers[i].bytes; });
    if (next == best_order) break;
    const int64_t before = best.peak;
    attempt(next);
    if (best.peak == before) break;
  }
  best.live = live;
  return best;
}

}  // namespace octensor::program
