// What the kernels share: work split over blocks, reductions over a block, exact sums.
//
// Blocks have a multiple of 32 threads, at most THREADS_MAX. Integer additions and maxima are the
// same in any order, so neither blocks nor atomics can change a bit.
#pragma once

#include "arithmetic.hpp"

#define KERNEL extern "C" __global__ void

namespace exact {

constexpr int WARP = 32, THREADS_MAX = 256;
constexpr unsigned EVERY_LANE = 0xffffffff;
constexpr u64 ABSOLUTE = 0x7fffffffffffffff, INFINITE = (u64)INFINITY_BITS;

using Word = unsigned long long;  // what 64-bit atomics take

EXACT_INLINE i64 smaller(i64 a, i64 b) { return a < b ? a : b; }
EXACT_INLINE i64 divided_up(i64 a, i64 b) { return (a + b - 1) / b; }

// How the threads of a grid walk through elements.
EXACT_INLINE i64 first_index() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
EXACT_INLINE i64 index_step() { return (i64)gridDim.x * blockDim.x; }

// ---- reductions over a block ----------------------------------------------------------------------

struct Largest {
    __device__ u64 operator()(u64 a, u64 b) const { return a > b ? a : b; }
};
struct Total {
    __device__ u64 operator()(u64 a, u64 b) const { return a + b; }
};
struct Union {
    __device__ u64 operator()(u64 a, u64 b) const { return a | b; }
};

template <class Combine>
EXACT_INLINE u64 over_warp(u64 value, Combine combine) {
    for (int distance = WARP / 2; distance; distance /= 2)
        value = combine(value, (u64)__shfl_xor_sync(EVERY_LANE, (Word)value, distance));
    return value;
}

// Every thread of the block must call this, and every one gets the result.
template <class Combine>
EXACT_INLINE u64 over_block(u64 value, Combine combine) {
    __shared__ u64 of_warp[THREADS_MAX / WARP];
    value = over_warp(value, combine);
    __syncthreads();  // all have read an earlier result
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = value;
    __syncthreads();
    value = of_warp[0];
    for (unsigned warp = 1; warp < blockDim.x / WARP; ++warp) value = combine(value, of_warp[warp]);
    return value;
}

// ---- exact sums -----------------------------------------------------------------------------------

// Patterns of absolute values are ordered as the values are, NaN above infinity.
EXACT_INLINE u64 absolute_bits(double x) { return (u64)bits_of(x) & ABSOLUTE; }

// What kinds of numbers that are not finite a sum has: 1 for +inf, 2 for -inf, 4 for NaN.
EXACT_INLINE u64 special_kind(double x) {
    if (absolute_bits(x) < INFINITE) return 0;
    return x != x ? 4 : (x > 0 ? 1 : 2);
}

EXACT_INLINE double special_sum(u64 kinds) {
    if (kinds == 1) return from_bits(INFINITY_BITS);
    return kinds == 2 ? -from_bits(INFINITY_BITS) : from_bits(NAN_BITS);
}

// The grid of a sum of `terms` numbers, of which `largest` is the largest pattern.
struct Grid {
    double scale, unit;
    bool finite;

    __device__ Grid(u64 largest, i64 terms) : scale(0), unit(0), finite(largest < INFINITE) {
        if (!finite) return;
        i64 shift = grid_bits(terms) - exponent_of(from_bits((i64)largest));
        scale = pow2(shift);
        unit = pow2(-shift);
    }

    // What a term of a finite sum adds to the total.
    __device__ u64 integer(double term) const {
        return (u64)(bits_of(term * scale + ROUNDER) - ROUNDER_BITS);
    }

    // The sum, of the total of all integers, or of the kinds of numbers that are not finite.
    __device__ double sum(u64 total) const {
        return finite ? (double)(i64)total * unit : special_sum(total);
    }
};

// Every thread of the block must call this, and every one gets the exact sum of load(0 .. n - 1).
template <class Load>
EXACT_INLINE double block_sum(i64 n, Load load) {
    u64 largest = 0;
    for (i64 i = threadIdx.x; i < n; i += blockDim.x)
        largest = Largest()(largest, absolute_bits(load(i)));
    Grid grid(over_block(largest, Largest()), n);
    u64 mine = 0;
    if (grid.finite) {
        for (i64 i = threadIdx.x; i < n; i += blockDim.x) mine += grid.integer(load(i));
        return grid.sum(over_block(mine, Total()));
    }
    for (i64 i = threadIdx.x; i < n; i += blockDim.x) mine |= special_kind(load(i));
    return grid.sum(over_block(mine, Union()));
}

}  // namespace exact
