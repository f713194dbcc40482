// The operations that kernels on 4-bit weights are written in, one specialisation per instruction set, beside its
// struct. Weights are nibbles 0 ... 15, activations signed bytes: 15 * 128 * 2 = 3,840 is the most that a pair of
// products reaches, so eight of them fit int16 whatever the operands are (8 * 3,840 = 30,720).
//   kRows               rows of the tile; its columns are two vectors of kLanes
//   Bytes               kLanes columns of 4 K each, one byte per value
//   Sum                 kLanes running sums of products of such bytes
//   kDrains             whether a Sum must be drained after eight steps, else it holds a whole group
//   load, store         Bytes
//   low, high           the nibbles of every byte, as Bytes
//   quad                4 activations, repeated for every column
//   first(w, a)         a Sum of one step; step(sum, w, a) adds another
//   drain(acc, sum)     acc[i] + the i-th running sum
//   nibble<I>(x)        the I-th nibble, from the lowest, of every lane
#pragma once

namespace octensor::simd {

template <class S>
struct Int4;

}  // namespace octensor::simd
