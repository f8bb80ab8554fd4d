// The arithmetic of the specification for one element, as arithmetic/*.py has it: the same float64
// operations in the same order, for CPUs and GPUs. Compile without contraction (-ffp-contract=off,
// --fmad=false).
#pragma once

#ifdef __CUDACC_RTC__  // compiled at run time: no standard headers, their functions are built in
using int32_t = int;
using int64_t = long long;
using uint32_t = unsigned int;
using uint64_t = unsigned long long;
#else
#include <cmath>
#include <cstdint>
#include <cstring>
#endif

#ifdef __CUDACC__
#define EXACT_INLINE static __device__ inline
#else
#define EXACT_INLINE static inline
#endif

namespace exact {

using i32 = int32_t;
using i64 = int64_t;
using u32 = uint32_t;
using u64 = uint64_t;

// Adding 1.5·2^52 rounds a float64 below 2^51 to an integer, half to even, in its low bits.
constexpr double ROUNDER = 0x1.8p52;
constexpr i64 ROUNDER_BITS = 0x4338000000000000;
constexpr i64 INFINITY_BITS = 0x7ff0000000000000, NAN_BITS = 0x7ff8000000000000;
constexpr i64 EXPONENT_MIN = -400;
constexpr i64 GRID_BITS = 39;
constexpr i64 SUM_BITS = 61;

EXACT_INLINE i64 bits_of(double x) {
    i64 bits;
    memcpy(&bits, &x, 8);
    return bits;
}

EXACT_INLINE double from_bits(i64 bits) {
    double x;
    memcpy(&x, &bits, 8);
    return x;
}

EXACT_INLINE u32 bits_of(float x) {
    u32 bits;
    memcpy(&bits, &x, 4);
    return bits;
}

EXACT_INLINE float float_from_bits(u32 bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

EXACT_INLINE double pow2(i64 e) { return from_bits((e + 1023) << 52); }

EXACT_INLINE i64 exponent_of(double x) {
    i64 e = ((bits_of(x) >> 52) & 0x7ff) - 1023;
    return e < EXPONENT_MIN ? EXPONENT_MIN : e;
}

EXACT_INLINE i64 grid_bits(i64 terms) {
    i64 length = 0;
    for (i64 rest = terms > 1 ? terms - 1 : 0; rest; rest >>= 1) ++length;
    return SUM_BITS - length < GRID_BITS ? SUM_BITS - length : GRID_BITS;
}

EXACT_INLINE float canonical(float x) { return x != x ? float_from_bits(0x7fc00000) : x; }

constexpr double INV_LN2 = 0x1.71547652b82fep+0;
constexpr double LN2_HIGH = 0x1.62e42fee00000p-1;
constexpr double LN2_LOW = 0x1.a39ef35793c76p-33;
constexpr double SQRT_2 = 0x1.6a09e667f3bcdp+0;
constexpr double SQRT_HALF = 0x1.6a09e667f3bcdp-1;
constexpr double INV_SQRT_2PI = 0x1.9884533d43651p-2;

EXACT_INLINE double exp64(double x) {
    x = x < -708.0 ? -708.0 : x;
    x = x > 709.0 ? 709.0 : x;
    double shifted = x * INV_LN2 + ROUNDER;
    i64 k = bits_of(shifted) - ROUNDER_BITS;
    double kd = shifted - ROUNDER;
    double r = (x - kd * LN2_HIGH) - kd * LN2_LOW;
    double p = 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 1.0 / 2;
    p = p * r + 1.0;
    p = p * r + 1.0;
    return p * pow2(k);
}

EXACT_INLINE double log64(double x) {
    i64 pattern = bits_of(x);
    i64 exponent = ((pattern >> 52) & 0x7ff) - 1023;
    double mantissa = from_bits((pattern & 0xfffffffffffff) | 0x3ff0000000000000);
    bool above = mantissa > SQRT_2;
    mantissa = above ? mantissa * 0.5 : mantissa;
    // the exponent as float64, without a conversion that older instruction sets lack
    double k = from_bits(ROUNDER_BITS + exponent + (above ? 1 : 0)) - ROUNDER;
    double f = (mantissa - 1.0) / (mantissa + 1.0);
    double z = f * f;
    double p = 1.0 / 19;
    p = p * z + 1.0 / 17;
    p = p * z + 1.0 / 15;
    p = p * z + 1.0 / 13;
    p = p * z + 1.0 / 11;
    p = p * z + 1.0 / 9;
    p = p * z + 1.0 / 7;
    p = p * z + 1.0 / 5;
    p = p * z + 1.0 / 3;
    p = p * z + 1.0;
    double series = (f + f) * p;
    return k * LN2_HIGH + (k * LN2_LOW + series);
}

EXACT_INLINE double log1p64(double x) {
    double y = 1.0 + x;
    double safe = y > 0 ? y : 1.0;
    return log64(safe) + (x - (y - 1.0)) / safe;
}

EXACT_INLINE double sigmoid(double x) {
    double e = exp64(-fabs(x));
    return (x >= 0 ? 1.0 : e) / (1.0 + e);
}

EXACT_INLINE double tanh64(double x) {
    double a = fabs(x);
    double e = exp64(-(a + a));
    double small = a * (1.0 - (a * a) * (1.0 / 3.0));
    return copysign(a < 1e-5 ? small : (1.0 - e) / (1.0 + e), x);
}

EXACT_INLINE double erf64(double x) {
    double a = fabs(x);
    bool inside = a < 4.0;
    double z = inside ? a : 0.0;
    double u = (z * z) * 0.125 - 1.0;
    double p = 0x1.bcc815ff99fc8p-17;
    p = p * u - 0x1.33faef130d5f3p-15;
    p = p * u + 0x1.04abbb495ab20p-15;
    p = p * u - 0x1.2f519e0508093p-14;
    p = p * u + 0x1.39b6c9a411acbp-12;
    p = p * u - 0x1.60e425b460c9ep-11;
    p = p * u + 0x1.4d883b405ce8cp-10;
    p = p * u - 0x1.4ba8ad17e1eb5p-9;
    p = p * u + 0x1.3ecee816d1155p-8;
    p = p * u - 0x1.1aca00f2f26f7p-7;
    p = p * u + 0x1.d614c3ae5d952p-7;
    p = p * u - 0x1.701600c4fea37p-6;
    p = p * u + 0x1.0ed6ed17cecdfp-5;
    p = p * u - 0x1.76eb44e737b7dp-5;
    p = p * u + 0x1.ea97b8b023d5bp-5;
    p = p * u - 0x1.3215b3394805fp-4;
    p = p * u + 0x1.717efe4bdb51ap-4;
    p = p * u - 0x1.b92e978107473p-4;
    p = p * u + 0x1.0dabaf00335a8p-3;
    p = p * u - 0x1.69a0ccd72c7a0p-3;
    p = p * u + 0x1.6a040781a7b93p-2;
    double value = z * p;
    return copysign(inside ? value : 1.0, x);
}

EXACT_INLINE double normal_cdf(double x) { return 0.5 * (1.0 + erf64(x * SQRT_HALF)); }

EXACT_INLINE double normal_pdf(double x) { return exp64((x * x) * -0.5) * INV_SQRT_2PI; }

EXACT_INLINE double softplus(double x) {
    return (x > 0 ? x : 0.0) + log1p64(exp64(-fabs(x)));
}

// For arguments that were float32 and are not NaN: -inf at 0 and NaN below, as arithmetic has it.
EXACT_INLINE double any_log(double x) {
    bool usable = x > 0 && x < from_bits(INFINITY_BITS);
    double value = log64(usable ? x : 1.0);
    return usable ? value : (x == 0 ? -from_bits(INFINITY_BITS) : (x > 0 ? x : from_bits(NAN_BITS)));
}

EXACT_INLINE double any_log1p(double x) {
    bool usable = x > -1 && x < from_bits(INFINITY_BITS);
    double value = log1p64(usable ? x : 0.0);
    return usable ? value : (x == -1 ? -from_bits(INFINITY_BITS) : (x > 0 ? x : from_bits(NAN_BITS)));
}

EXACT_INLINE double any_expm1(double x) {
    return fabs(x) < 1e-5 ? x * (1.0 + x * 0.5) : exp64(x) - 1.0;
}

EXACT_INLINE double silu_slope(double x) {
    double s = sigmoid(x);
    return s * (1.0 + x * (1.0 - s));
}

}  // namespace exact
