// How the mixed GEMM multiplies each group of K: what the packed weights prove exact for all activations.
//
// Where weights are small it takes activations as they are (kernels/gemm_plain.h), else as magnitudes and signs
// (kernels/gemm_mixed.h). The first form is faster where nearly all groups are twins or singles, and it is chosen for a
// whole matrix, as activations are prepared for one form only.
#pragma once
#include "ops/packed.h"

namespace octensor {

// Chooses the form, if there is a choice, and lists the groups of all panels in it, block by block: twins, singles,
// splits.
void order_groups(const GemmTile& tile, int64_t panels, int64_t k_groups, bool may_be_plain, PackedPanels& packed);

}  // namespace octensor
