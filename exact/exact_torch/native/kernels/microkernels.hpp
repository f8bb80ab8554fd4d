// Tiles of a matrix product in registers, for the instruction set this is compiled for.
//
// add_tile(a, b, c, ldc, steps) adds to the MR x NR tile at c the products of two packed panels:
// a[step][MR], b[step][NR], row-major. E21's elements are integers in float64 and their sums below
// 2^53, so that fused or separate multiplication and addition are both exact. E14's elements are
// pairs of int16 in an int32; sums go to float64 before they could overflow. FMA's float32 chain
// goes through the tile in ascending k.
#pragma once

#include "arithmetic.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace exact {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, MR = 12, NV = 2;
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int VECTOR_BYTES = 32, MR = 6, NV = 2;
#else
constexpr int VECTOR_BYTES = 16, MR = 6, NV = 2;
#endif

typedef double vf64 __attribute__((vector_size(VECTOR_BYTES), aligned(VECTOR_BYTES)));
typedef float vf32 __attribute__((vector_size(VECTOR_BYTES), aligned(VECTOR_BYTES)));
typedef i32 vi32 __attribute__((vector_size(VECTOR_BYTES), aligned(VECTOR_BYTES)));
typedef double vf64u __attribute__((vector_size(VECTOR_BYTES), aligned(8)));
typedef float vf32u __attribute__((vector_size(VECTOR_BYTES), aligned(4)));

static inline vf64 multiply_add(vf64 a, vf64 b, vf64 c) {
#if defined(__AVX512F__)
    return (vf64)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX2__) && defined(__FMA__)
    return (vf64)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#else
    return a * b + c;
#endif
}

// One rounding: the FMA mode's definition.
static inline vf32 fused(vf32 a, vf32 b, vf32 c) {
#if defined(__AVX512F__)
    return (vf32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
    return (vf32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    vf32 r;
    for (unsigned i = 0; i < sizeof(vf32) / 4; ++i) r[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return r;
#endif
}

// c + a.low·b.low + a.high·b.high in each int32, of two int16 each.
static inline vi32 add_pair_products(vi32 c, vi32 a, vi32 b) {
#if defined(__AVX512VNNI__)
    return (vi32)_mm512_dpwssd_epi32((__m512i)c, (__m512i)a, (__m512i)b);
#elif defined(__AVX512BW__)
    return c + (vi32)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__) && defined(__FMA__)
    return c + (vi32)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return c + (vi32)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    return c + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}

struct TileE21 {
    using packed = double;
    using sum = double;
    static constexpr int K_STEP = 1, LANES = VECTOR_BYTES / 8, NR = NV * LANES, STEPS = 256;

    static void add_tile(const double* a, const double* b, double* c, i64 ldc, i64 steps) {
        vf64 t[MR][NV];
#pragma GCC unroll 12
        for (int i = 0; i < MR; ++i)
            for (int j = 0; j < NV; ++j) t[i][j] = *(const vf64u*)(c + i * ldc + j * LANES);
        for (i64 k = 0; k < steps; ++k) {
            vf64 row[NV];
            for (int j = 0; j < NV; ++j) row[j] = *(const vf64*)(b + k * NR + j * LANES);
#pragma GCC unroll 12
            for (int i = 0; i < MR; ++i) {
                vf64 left = a[k * MR + i] - vf64{};
                for (int j = 0; j < NV; ++j) t[i][j] = multiply_add(left, row[j], t[i][j]);
            }
        }
#pragma GCC unroll 12
        for (int i = 0; i < MR; ++i)
            for (int j = 0; j < NV; ++j) *(vf64u*)(c + i * ldc + j * LANES) = t[i][j];
    }
};

struct TileFMA {
    using packed = float;
    using sum = float;
    static constexpr int K_STEP = 1, LANES = VECTOR_BYTES / 4, NR = NV * LANES, STEPS = 256;

    static void add_tile(const float* a, const float* b, float* c, i64 ldc, i64 steps) {
        vf32 t[MR][NV];
#pragma GCC unroll 12
        for (int i = 0; i < MR; ++i)
            for (int j = 0; j < NV; ++j) t[i][j] = *(const vf32u*)(c + i * ldc + j * LANES);
        for (i64 k = 0; k < steps; ++k) {
            vf32 row[NV];
            for (int j = 0; j < NV; ++j) row[j] = *(const vf32*)(b + k * NR + j * LANES);
#pragma GCC unroll 12
            for (int i = 0; i < MR; ++i) {
                vf32 left = a[k * MR + i] - vf32{};
                for (int j = 0; j < NV; ++j) t[i][j] = fused(left, row[j], t[i][j]);
            }
        }
#pragma GCC unroll 12
        for (int i = 0; i < MR; ++i)
            for (int j = 0; j < NV; ++j) *(vf32u*)(c + i * ldc + j * LANES) = t[i][j];
    }
};

struct TileE14 {
    using packed = i32;
    using sum = double;
    static constexpr int K_STEP = 2, LANES = VECTOR_BYTES / 4, NR = NV * LANES, STEPS = 240;
    // 2·15 products of at most 2^26 and a carry below 2^16 stay below 2^31
    static constexpr int SAFE_STEPS = 15;

    static void add_tile(const i32* a, const i32* b, double* c, i64 ldc, i64 steps) {
        alignas(64) i32 high[MR * NR], low[MR * NR];
        vi32 t[MR][NV];
#pragma GCC unroll 12
        for (int i = 0; i < MR; ++i)
            for (int j = 0; j < NV; ++j) t[i][j] = vi32{};
        memset(high, 0, sizeof high);
        for (i64 start = 0; start < steps; start += SAFE_STEPS) {
            i64 stop = start + SAFE_STEPS < steps ? start + SAFE_STEPS : steps;
            for (i64 k = start; k < stop; ++k) {
                vi32 row[NV];
                for (int j = 0; j < NV; ++j) row[j] = *(const vi32*)(b + k * NR + j * LANES);
#pragma GCC unroll 12
                for (int i = 0; i < MR; ++i) {
                    vi32 left = a[k * MR + i] - vi32{};
                    for (int j = 0; j < NV; ++j) t[i][j] = add_pair_products(t[i][j], left, row[j]);
                }
            }
#pragma GCC unroll 12
            for (int i = 0; i < MR; ++i)
                for (int j = 0; j < NV; ++j) {
                    vi32* carry = (vi32*)(high + i * NR + j * LANES);
                    *carry += t[i][j] >> 16;
                    t[i][j] &= 0xffff;
                }
        }
#pragma GCC unroll 12
        for (int i = 0; i < MR; ++i)
            for (int j = 0; j < NV; ++j) *(vi32*)(low + i * NR + j * LANES) = t[i][j];
        for (int i = 0; i < MR; ++i)
            for (int j = 0; j < NR; ++j)
                c[i * ldc + j] += (double)high[i * NR + j] * 65536.0 + (double)low[i * NR + j];
    }
};

}  // namespace exact
