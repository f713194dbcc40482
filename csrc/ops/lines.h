// Convolution of few input channels, multiplied where its input lines lie (kernels/line_gemm.h).
#pragma once
#include "ops/conv_geometry.h"

namespace octensor::ops {

// Whether this is the way to go for a call.
bool lines_pay(const Geometry& g, const KernelTable& table);

void convolve_lines(const Geometry& g, const KernelTable& table, const Epilogue& epilogue, const QParams& qparams,
                    bool relu, uint8_t* out);

}  // namespace octensor::ops
