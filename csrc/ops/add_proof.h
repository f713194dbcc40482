// Whether adding codes may multiply where it would divide (kernels/binary.h).
#pragma once
#include "kernels/table.h"

namespace octensor::ops {

// Whether with these parameters ties are frequent and the table's add gives the defined codes by multiplying, for all
// 65,536 pairs of codes: found out by trying them, some 60 microseconds, and kept. False until calls of one thread with
// the same parameters have added up to enough elements `n` to pay for that.
bool add_by_product(const KernelTable& table, const BinaryArgs& parameters, int64_t n);

}  // namespace octensor::ops
