// Depthwise convolution on channels-last codes, 16 channels at a time.
//
//   sum[c] = bias[c] + sum over taps t of x_t[c] * w_t[c],  w already minus its zero point;
//   the input's zero point is folded into the bias: - zx * sum_t w_t[c], padding being the zero point itself.
//
// A dot step takes kGroup taps of a channel side by side. Which taps share a step is the plan's affair
// (ops/depthwise_plan.h); the kernel interleaves their codes once per input column into a buffer in the L1 cache, a
// "stream" of cells, and every output column that needs a cell reads it from there as a multiply's memory operand.
//
// Bound, AVX2, 5 x 5 with stride 1, for 16 channels of one output (800 operations): three cells of 4 instructions that
// widen and interleave and 2 stores, 26 multiplications and 26 additions (four rows in two streams, the fifth paired
// with its neighbour columns: 13 steps for 25 taps), 12 that convert and narrow: 76 for four vector pipes, 19 cycles;
// 33 loads for two ports. Reached on Zen 4: 38 cycles. 3 x 3 has a better way: depthwise_3x3.h.
#pragma once
#include "kernels/args.h"

namespace octensor::kernels {

template <class S>
struct DepthwiseFinish {
  typename S::F32 hi;
  typename S::Finish codes;

  // The lowest code is stored as 0 plus that code, so that narrowing clamps to it.
  [[gnu::always_inline]] explicit DepthwiseFinish(const DepthwiseArgs& d)
      : hi(S::fset(d.requantize.hi)),
        codes{static_cast<int16_t>(-d.requantize.lo),
              static_cast<uint8_t>(d.requantize.zero_point + static_cast<int32_t>(d.requantize.lo))} {}
  // The clamp below int32's range and at the codes' own bounds is store_two's; above int32 it is made here.
  [[gnu::always_inline]] typename S::I32 scaled(typename S::I32 sum, const float* multiplier) const {
    return S::fixed(S::fmin(S::fmul(S::to_float(sum), S::fload(multiplier)), hi));
  }
};

// The last V vectors of a block's channels, of cells or weights, and of sums of one output column: named members, for
// GCC keeps these in registers.
template <class S, int V = kDepthwiseChannels / S::kLanes>
struct ChannelVectors {
  static constexpr int kStep = S::kLanes * S::Taps::kGroup;
  typename S::Taps::Wide first;
  ChannelVectors<S, V - 1> rest;
  [[gnu::always_inline]] void load(const typename S::Taps::Activation* p) {
    first = S::Taps::load(p);
    rest.load(p + kStep);
  }
  [[gnu::always_inline]] void store(typename S::Taps::Activation* p) const {
    S::Taps::store(p, first);
    rest.store(p + kStep);
  }
  template <bool Signed>
  [[gnu::always_inline]] void zip(const typename S::Taps::Rows* rows) {
    first = S::Taps::template zip<Signed, kDepthwiseChannels / S::kLanes - V>(rows);
    rest.template zip<Signed>(rows);
  }
};
template <class S>
struct ChannelVectors<S, 0> {
  [[gnu::always_inline]] void load(const typename S::Taps::Activation*) {}
  [[gnu::always_inline]] void store(typename S::Taps::Activation*) const {}
  template <bool Signed>
  [[gnu::always_inline]] void zip(const typename S::Taps::Rows*) {}
};

template <class S, int V = kDepthwiseChannels / S::kLanes>
struct ChannelSums {
  typename S::I32 sum;
  ChannelSums<S, V - 1> rest;
  [[gnu::always_inline]] void start(const int32_t* bias) {
    sum = S::load(bias);
    rest.start(bias + S::kLanes);
  }
  // A cell and a step's weights: either may be in memory or in registers.
  template <class X, class W>
  [[gnu::always_inline]] void step(const X& x, const W& w) {
    sum = S::Taps::dot(sum, head(x), head(w));
    rest.step(tail(x), tail(w));
  }

 private:
  using Memory = const typename S::Taps::Activation*;
  [[gnu::always_inline]] static typename S::Taps::Wide head(Memory p) { return S::Taps::load(p); }
  [[gnu::always_inline]] static Memory tail(Memory p) { return p + S::kLanes * S::Taps::kGroup; }
  [[gnu::always_inline]] static typename S::Taps::Wide head(const ChannelVectors<S, V>& v) { return v.first; }
  [[gnu::always_inline]] static const ChannelVectors<S, V - 1>& tail(const ChannelVectors<S, V>& v) { return v.rest; }
};
template <class S>
struct ChannelSums<S, 0> {
  [[gnu::always_inline]] void start(const int32_t*) {}
  template <class X, class W>
  [[gnu::always_inline]] void step(const X&, const W&) {}
};

// Two columns' sums -> codes at p and q. The parameters before `p` walk through the vectors of both.
template <class S, int V, int W, class... Done>
[[gnu::always_inline]] inline void store_codes(const DepthwiseFinish<S>& f, const float* multiplier,
                                               const ChannelSums<S, V>& x, const ChannelSums<S, W>& y, uint8_t* p,
                                               uint8_t* q, Done... done) {
  if constexpr (V > 0)
    store_codes(f, multiplier, x.rest, y, p, q, done...,
                f.scaled(x.sum, multiplier + (kDepthwiseChannels / S::kLanes - V) * S::kLanes));
  else if constexpr (W > 0)
    store_codes(f, multiplier, x, y.rest, p, q, done...,
                f.scaled(y.sum, multiplier + (kDepthwiseChannels / S::kLanes - W) * S::kLanes));
  else
    S::store_two(p, q, f.codes, done...);
}

// N neighbouring output columns.
template <class S, int N>
struct ColumnSums {
  static constexpr int kCell = kDepthwiseChannels * S::Taps::kGroup;
  ChannelSums<S> first;
  ColumnSums<S, N - 1> rest;
  [[gnu::always_inline]] void start(const int32_t* bias) {
    first.start(bias);
    rest.start(bias);
  }
  [[gnu::always_inline]] void step(const typename S::Taps::Activation* x, const ChannelVectors<S>& w) {
    first.step(x, w);
    rest.step(x + kCell, w);
  }
  [[gnu::always_inline]] void finish(const DepthwiseFinish<S>& f, const float* multiplier, uint8_t* out,
                                     int64_t stride) const {
    if constexpr (N > 1) {
      store_codes(f, multiplier, first, rest.first, out, out + stride);
      rest.rest.finish(f, multiplier, out + 2 * stride, stride);
    } else {
      store_codes(f, multiplier, first, first, out, out);
    }
  }
};
template <class S>
struct ColumnSums<S, 0> {
  [[gnu::always_inline]] void start(const int32_t*) {}
  template <class W>
  [[gnu::always_inline]] void step(const typename S::Taps::Activation*, const W&) {}
  [[gnu::always_inline]] void finish(const DepthwiseFinish<S>&, const float*, uint8_t*, int64_t) const {}
};

// Output columns as many as leave registers for weights and products.
template <class S>
constexpr int kDepthwiseColumns = 8 * S::kLanes / kDepthwiseChannels < 1 ? 1 : 8 * S::kLanes / kDepthwiseChannels;

// n output columns of a line, for a block of channels; fewer than N at the end.
template <class S, int N = kDepthwiseColumns<S>>
void depthwise_columns(int64_t n, const DepthwiseArgs& d, const typename S::Taps::Activation* cells, int64_t block,
                       uint8_t* out, int64_t stride) {
  constexpr int kCell = kDepthwiseChannels * S::Taps::kGroup;
  const DepthwiseFinish<S> f(d);
  const auto* weights = static_cast<const typename S::Taps::Activation*>(d.weights) + block * d.steps * kCell;
  const int32_t* bias = d.requantize.bias + block * kDepthwiseChannels;
  const float* multiplier = d.requantize.multiplier + block * kDepthwiseChannels;
  for (; n >= N; n -= N, cells += N * kCell, out += N * stride) {
    ColumnSums<S, N> sums;
    sums.start(bias);
    for (int64_t k = 0; k < d.steps; ++k) {
      ChannelVectors<S> w;
      w.load(weights + k * kCell);
      sums.step(cells + d.cells[k] * kCell, w);
    }
    sums.finish(f, multiplier, out, stride);
  }
  if constexpr (N > 1)
    if (n > 0) depthwise_columns<S, N - 1>(n, d, cells, block, out, stride);
}

template <class S, bool Signed>
[[gnu::always_inline]] inline void depthwise_cell(const uint8_t* const* x, typename S::Taps::Activation* to) {
  typename S::Taps::Rows rows[S::Taps::kGroup];
  for (int t = 0; t < S::Taps::kGroup; ++t) rows[t] = S::Taps::template rows16<Signed>(x[t]);
  ChannelVectors<S> cell;
  cell.template zip<Signed>(rows);
  cell.store(to);
}

// Cells [first, first + n) of a stream, for blocks [block, block + blocks), which are `size` apart in the buffer.
template <class S, bool Signed>
void depthwise_fill(const DepthwiseArgs& d, const DepthwiseStream& s, const uint8_t* const* rows, int64_t first,
                    int64_t n, int64_t block, int64_t blocks, int64_t size, typename S::Taps::Activation* out) {
  constexpr int kGroup = S::Taps::kGroup, kCell = kDepthwiseChannels * kGroup;
  const int64_t end = first + n, stride = d.column_stride * d.step;
  for (int64_t i = first; i < end;) {
    const uint8_t* start[kGroup];
    for (int t = 0; t < kGroup; ++t) {
      const int64_t offset = d.offsets[s.column[t] - d.first_column + i * d.step];
      start[t] = offset >= 0 ? rows[s.row[t]] + offset : d.padding;
    }
    // Inside the line addresses advance by a stride; elsewhere each cell is looked up.
    const int64_t stop = i < s.inner_begin || i >= s.inner_end ? i + 1 : end < s.inner_end ? end : s.inner_end;
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t channel = depthwise_channel(block + b, d.channels);
      const uint8_t* x[kGroup];
      for (int t = 0; t < kGroup; ++t) x[t] = start[t] + channel;
      typename S::Taps::Activation* to = out + b * size + (i - first) * kCell;
      if (d.channels < kDepthwiseChannels) {
        uint8_t copies[kGroup][kDepthwiseChannels] = {};
        for (int t = 0; t < kGroup; ++t) {
          for (int64_t c = 0; c < d.channels; ++c) copies[t][c] = x[t][c];
          x[t] = copies[t];
        }
        depthwise_cell<S, Signed>(x, to);
        continue;
      }
      for (int64_t j = i; j < stop; ++j, to += kCell) {
        depthwise_cell<S, Signed>(x, to);
        for (int t = 0; t < kGroup; ++t) x[t] += stride;
      }
    }
    i = stop;
  }
}

template <class S, bool Signed>
void depthwise_of(const DepthwiseArgs& d) {
  constexpr int kCell = kDepthwiseChannels * S::Taps::kGroup;
  const int64_t size = d.cell_count * kCell;
  auto* buffer = static_cast<typename S::Taps::Activation*>(d.buffer);
  for (int64_t block = d.first_block; block < d.last_block; block += d.blocks) {
    const int64_t blocks = d.last_block - block < d.blocks ? d.last_block - block : d.blocks;
    for (int64_t line = 0; line < d.lines; ++line) {
      for (int64_t first = 0; first < d.width; first += d.segment) {
        const int64_t n = d.width - first < d.segment ? d.width - first : d.segment;
        for (int64_t s = 0; s < d.stream_count; ++s)
          depthwise_fill<S, Signed>(d, d.streams[s], d.rows + line * d.row_taps, first, n + d.streams[s].extra, block,
                                    blocks, size, buffer + d.streams[s].base * kCell);
        uint8_t* out = d.out + (line * d.width + first) * d.channels;
        if (d.channels >= kDepthwiseChannels) {
          for (int64_t b = 0; b < blocks; ++b)
            depthwise_columns<S>(n, d, buffer + b * size, block + b, out + depthwise_channel(block + b, d.channels),
                                 d.channels);
          continue;
        }
        for (int64_t i = 0; i < n; ++i, out += d.channels) {
          uint8_t codes[kDepthwiseChannels];
          depthwise_columns<S>(1, d, buffer + i * kCell, 0, codes, kDepthwiseChannels);
          for (int64_t c = 0; c < d.channels; ++c) out[c] = codes[c];
        }
      }
    }
  }
}

}  // namespace octensor::kernels
