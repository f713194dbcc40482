// Which groups of K the mixed GEMM multiplies as twins: proved exact for all activations by the packed weights
// (kernels/gemm_mixed.h).
#pragma once
#include "ops/packed.h"

namespace octensor {

// Lists the groups of all panels, block by block, twins first.
void order_groups(const GemmTile& tile, int64_t panels, int64_t k_groups, PackedPanels& packed);

}  // namespace octensor
