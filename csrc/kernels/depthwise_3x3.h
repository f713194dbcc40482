// Depthwise 3 x 3, stride 1 or 2, as a window that slides along a line of outputs in registers.
//
// With steps of two taps, a column c of the input gives two vectors: v, rows 0 and 1 at c, and h, row 2 at c and c + 1.
// Output o, whose columns are a, b, c, is the sum of 5 steps:
//   v(a) w0 + v(b) w1 + v(c) w2 + h(a) w3 + h(c) w4      w4's second tap is 0
// With steps of four taps v holds all three rows, and there is no h. Each column is read and interleaved once and
// serves the outputs that it is the first, second and third column of; unfinished sums stay in registers, nothing but
// codes is loaded and stored, and three or five steps' weights.
//
// Bound, AVX2, stride 1, 16 channels of one output (288 operations): 7 instructions that widen and interleave, 20
// multiplications and additions, 8 conversions and products, 4.5 that narrow and store: 40 for four vector pipes, 10
// cycles; 12 of them multiply, on two pipes: 6; 20 loads for two ports: 10; about 50 instructions for 6 slots of
// dispatch. Reached on Zen 4: 15.5 cycles, 65% of the bound; what is left are chains of some 50 cycles from a load to
// the store, longer than the scheduler looks ahead.
#pragma once
#include "kernels/depthwise.h"

namespace octensor::kernels {

// The weights of the five or three steps: three stay in registers; five, of a set that has fewer of these, are read
// where they are used.
template <class S, int Group = S::Taps::kGroup>
struct WindowWeights {
  const typename S::Taps::Activation* at;
  [[gnu::always_inline]] void start(const typename S::Taps::Activation* w) { at = w; }
  // GCC would load them once for two turns, and spill them.
  [[gnu::always_inline]] void turn() { asm("" : "+r"(at)); }
  template <int K>
  [[gnu::always_inline]] const typename S::Taps::Activation* step() const {
    return at + K * kDepthwiseChannels * S::Taps::kGroup;
  }
};
template <class S>
struct WindowWeights<S, 4> {
  ChannelVectors<S> w0, w1, w2;
  [[gnu::always_inline]] void start(const typename S::Taps::Activation* w) {
    constexpr int kStep = kDepthwiseChannels * S::Taps::kGroup;
    w0.load(w), w1.load(w + kStep), w2.load(w + 2 * kStep);
  }
  [[gnu::always_inline]] void turn() {}
  template <int K>
  [[gnu::always_inline]] const ChannelVectors<S>& step() const {
    if constexpr (K == 0) return w0;
    if constexpr (K == 1) return w1;
    return w2;
  }
};

template <class S, bool Signed, int Stride>
struct Window {
  using Codes = typename S::Taps::Rows;
  using Cell = ChannelVectors<S>;
  using Sums = ChannelSums<S>;
  WindowWeights<S> weights;
  const int32_t* bias;
  int64_t channel;
  const uint8_t* const* x;  // addresses of rows 0 to 2 in the column to come, then in those after it
  Sums older, newer;        // sums that miss their last column; with stride 1 also such that miss two
  Codes corner;             // with stride 1, row 2 in the column to come

  [[gnu::always_inline]] void start() {
    older.start(bias);
    newer.start(bias);
    corner = row(2);
  }
  [[gnu::always_inline]] Codes row(int r) const { return S::Taps::template rows16<Signed>(x[r] + channel); }
  [[gnu::always_inline]] static Cell cell(Codes a, Codes b, Codes c) {
    const Codes rows[] = {a, b, c, c};  // of four taps the last has weight 0
    Cell z;
    z.template zip<Signed>(rows);
    return z;
  }
  // Moves on by one output; returns the sums of the output that this completes.
  [[gnu::always_inline]] Sums take() {
    weights.turn();
    const Codes low = Stride == 1 && S::Taps::kGroup == 2 ? corner : row(2);
    const Cell v = cell(row(0), row(1), low);
    Sums done = older, fresh;
    fresh.start(bias);
    done.step(v, weights.template step<2>());
    fresh.step(v, weights.template step<0>());
    if constexpr (S::Taps::kGroup == 2) {
      corner = row(5);
      const Cell h = cell(low, corner, low);
      done.step(h, weights.template step<4>());
      fresh.step(h, weights.template step<3>());
    }
    if constexpr (Stride == 1) {
      older = newer;
      older.step(v, weights.template step<1>());
      newer = fresh;
    } else {
      older = fresh;
      older.step(cell(row(3), row(4), S::Taps::kGroup == 2 ? low : row(5)), weights.template step<1>());
    }
    x += 3 * Stride;
    return done;
  }
};

// n outputs of a line, for one block of channels. columns: the addresses of three rows' codes in each column, the first
// that the outputs read first.
template <class S, bool Signed, int Stride>
void depthwise_line(const DepthwiseArgs& d, int64_t n, const uint8_t* const* columns, int64_t block, uint8_t* out) {
  using Sums = ChannelSums<S>;
  const DepthwiseFinish<S> f(d);
  const auto* weights = static_cast<const typename S::Taps::Activation*>(d.weights);
  const float* multiplier = d.requantize.multiplier + block * kDepthwiseChannels;
  Window<S, Signed, Stride> window;
  window.weights.start(weights + block * d.steps * kDepthwiseChannels * S::Taps::kGroup);
  window.bias = d.requantize.bias + block * kDepthwiseChannels;
  window.channel = depthwise_channel(block, d.channels);
  window.x = columns;
  window.start();
  out += window.channel;
  for (int i = 0; i < 3 - Stride; ++i) window.take();  // nothing complete yet
  if (n > 1) {
    // Each turn stores what the turn before summed up, so that the two do not wait for each other.
    Sums x = window.take(), y = window.take();
    for (int64_t o = 3; o < n; o += 2, out += 2 * d.channels) {
      const Sums last_x = x, last_y = y;
      x = window.take(), y = window.take();
      store_codes(f, multiplier, last_x, last_y, out, out + d.channels);
    }
    store_codes(f, multiplier, x, y, out, out + d.channels);
    out += 2 * d.channels;
  }
  if (n % 2) {
    const Sums x = window.take();
    store_codes(f, multiplier, x, x, out, out);
  }
}

template <class S, bool Signed, int Stride>
void depthwise_3x3(const DepthwiseArgs& d) {
  const int64_t columns = (d.width - 1) * Stride + 4;
  for (int64_t line = 0; line < d.lines; ++line) {
    const uint8_t* const* rows = d.rows + line * 3;
    for (int64_t i = 0; i < columns; ++i) {
      const bool inside = i >= d.lead && i < d.lead + d.columns;
      for (int r = 0; r < 3; ++r)
        d.addresses[3 * i + r] = inside ? rows[r] + (i - d.lead) * d.column_stride : d.padding;
    }
    for (int64_t first = 0; first < d.width; first += d.segment) {
      const int64_t n = d.width - first < d.segment ? d.width - first : d.segment;
      uint8_t* out = d.out + (line * d.width + first) * d.channels;
      for (int64_t b = d.first_block; b < d.last_block; ++b)
        depthwise_line<S, Signed, Stride>(d, n, d.addresses + 3 * Stride * first, b, out);
    }
  }
}

template <class S, bool Signed>
void depthwise_of_sign(const DepthwiseArgs& d) {
  if constexpr (S::Taps::kGroup > 1)
    if (d.window) return d.step == 1 ? depthwise_3x3<S, Signed, 1>(d) : depthwise_3x3<S, Signed, 2>(d);
  depthwise_of<S, Signed>(d);
}

template <class S>
void depthwise(const DepthwiseArgs& d) {
  d.is_signed ? depthwise_of_sign<S, true>(d) : depthwise_of_sign<S, false>(d);
}

}  // namespace octensor::kernels
