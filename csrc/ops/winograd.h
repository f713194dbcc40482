// 3x3 convolutions of stride 1 by Winograd's algorithm (kernels/winograd.h): when it is exact, and how it runs.
//
// A sum acc of products (a - za)(w - zw) has a range of 255 * A, A = sum |w - zw|, wherever za lies, because codes a
// have a range of 255. The kernels give acc modulo 2^b, b = 30 for F(2x2), 26 for F(4x4), and know the middle of the
// range; so they give acc itself when 255 * A + 2 <= 2^b for every output channel. Where that fails for all input
// channels at once they are cut into parts for which it holds, and the parts' exact sums are added. Proof:
// docs/numerics.md.
#pragma once
#include "isa/dispatch.h"
#include "ops/conv_choice.h"
#include "ops/conv_geometry.h"

namespace octensor::ops {

// The algorithm for an input [batch, channels, size...]; looks at the weights once and keeps the proof with them.
ConvChoice algorithm_of(const PackedConv& w, int64_t batch, const Triple& size, const KernelTable& table);

// Writes the whole channels-last output, which must hold at least one element. `choice` is what algorithm_of gave.
void winograd(const Geometry& g, const KernelTable& table, const ConvChoice& choice, const Epilogue& epilogue,
              const QParams& qparams, bool relu, uint8_t* out);

}  // namespace octensor::ops
