// How the mixed GEMM multiplies each group of K: what the packed weights prove exact for all activations.
#pragma once
#include "ops/packed.h"

namespace octensor {

// Lists the groups of all panels of `packed`, block by block, as kernels/mixed_tile.h wants them, and what flipped ones
// lack. `packed` holds the weights of `m`, each panel with `k_groups` groups of K.
void order_groups(const GemmTile& tile, const WeightMatrix& m, int64_t k_groups, PackedPanels& packed);

}  // namespace octensor
