// Elementary functions and their gradients: float64 inside, one rounding to float32.
#include "device.hpp"

using namespace exact;

#define UNARY(NAME, EXPRESSION)                                            \
    KERNEL exact_##NAME(const float* x, float* out, i64 n) {               \
        for (i64 i = first_index(); i < n; i += index_step()) {            \
            bool nan = x[i] != x[i];                                       \
            double v = nan ? 0.0 : (double)x[i];                           \
            float result = (float)(EXPRESSION);                            \
            out[i] = nan ? float_from_bits(0x7fc00000) : canonical(result); \
        }                                                                  \
    }

#define BINARY(NAME, EXPRESSION)                                           \
    KERNEL exact_##NAME(const float* g, const float* x, float* out, i64 n) { \
        for (i64 i = first_index(); i < n; i += index_step()) {            \
            bool nan = (x[i] != x[i]) | (g[i] != g[i]);                    \
            double g_ = (double)g[i], v = nan ? 0.0 : (double)x[i];        \
            float result = (float)(EXPRESSION);                            \
            out[i] = nan ? float_from_bits(0x7fc00000) : canonical(result); \
        }                                                                  \
    }

#include "functions.inc"
