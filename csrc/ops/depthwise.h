// Convolution with one filter per channel: groups = input channels = output channels.
#pragma once
#include "isa/dispatch.h"
#include "ops/conv_geometry.h"

namespace octensor::ops {

// Writes the whole channels-last output, which must hold at least one element.
void depthwise(const Geometry& g, const KernelTable& table, const std::shared_ptr<const Epilogue>& epilogue,
               const QParams& qparams, bool relu, uint8_t* out);

}  // namespace octensor::ops
