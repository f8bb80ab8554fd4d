// Elementary functions and their gradients: float64 inside, one rounding to float32.
#include "arithmetic.hpp"

using namespace exact;

namespace {

constexpr i64 PARALLEL_MAP_ELEMENTS = 1 << 13;

template <class F>
void map(const float* x, float* out, i64 n, F f) {
#pragma omp parallel for simd schedule(static) if (n > PARALLEL_MAP_ELEMENTS)
    for (i64 i = 0; i < n; ++i) {
        double value = f(x[i] != x[i] ? 0.0 : (double)x[i]);
        float result = (float)value;
        out[i] = x[i] != x[i] ? float_from_bits(0x7fc00000) : canonical(result);
    }
}

template <class F>
void map(const float* g, const float* x, float* out, i64 n, F f) {
#pragma omp parallel for simd schedule(static) if (n > PARALLEL_MAP_ELEMENTS)
    for (i64 i = 0; i < n; ++i) {
        bool nan = (x[i] != x[i]) | (g[i] != g[i]);
        float result = (float)f((double)g[i], x[i] != x[i] ? 0.0 : (double)x[i]);
        out[i] = nan ? float_from_bits(0x7fc00000) : canonical(result);
    }
}

}  // namespace

#define UNARY(NAME, EXPRESSION)                                                \
    extern "C" void exact_##NAME(const float* x, float* out, int64_t n) {      \
        map(x, out, n, [](double v) { return EXPRESSION; });                   \
    }

#define BINARY(NAME, EXPRESSION)                                                               \
    extern "C" void exact_##NAME(const float* g, const float* x, float* out, int64_t n) {      \
        map(g, x, out, n, [](double g_, double v) { return EXPRESSION; });                     \
    }

#include "functions.inc"

extern "C" void exact_relu(const float* x, float* out, int64_t n) {
#pragma omp parallel for simd schedule(static) if (n > 4 * PARALLEL_MAP_ELEMENTS)
    for (i64 i = 0; i < n; ++i) out[i] = x[i] <= 0 ? 0.0f : x[i];
}
