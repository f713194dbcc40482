// Convolution with few input channels per lane: groups narrower than the GEMM's panels, whose lanes hold channels of
// several groups, and stems, which have few input channels altogether.
#pragma once
#include "isa/dispatch.h"
#include "ops/conv_geometry.h"

namespace octensor::ops {

// Whether this beats one GEMM per group: a pure function of the weight's shape and the instruction set.
bool grouped_pays(const PackedConv& w, const KernelTable& table);

// Writes the whole channels-last output, which must hold at least one element; w.upsample must be 1.
void grouped(const Geometry& g, const KernelTable& table, const Epilogue& epilogue, const QParams& qparams, bool relu,
             uint8_t* out);

}  // namespace octensor::ops
