// Elementary functions and their gradients: float64 inside, one rounding to float32.
#include "arithmetic.hpp"

using namespace exact;

namespace {

constexpr i64 PARALLEL_ELEMENTS = 1 << 13;

template <class F>
void map(const float* x, float* out, i64 n, F f) {
#pragma omp parallel for simd schedule(static) if (n > PARALLEL_ELEMENTS)
    for (i64 i = 0; i < n; ++i) {
        double value = f(x[i] != x[i] ? 0.0 : (double)x[i]);
        float result = (float)value;
        out[i] = x[i] != x[i] ? float_from_bits(0x7fc00000) : canonical(result);
    }
}

template <class F>
void map(const float* g, const float* x, float* out, i64 n, F f) {
#pragma omp parallel for simd schedule(static) if (n > PARALLEL_ELEMENTS)
    for (i64 i = 0; i < n; ++i) {
        bool nan = (x[i] != x[i]) | (g[i] != g[i]);
        float result = (float)f((double)g[i], x[i] != x[i] ? 0.0 : (double)x[i]);
        out[i] = nan ? float_from_bits(0x7fc00000) : canonical(result);
    }
}

double any_log(double x) {
    bool usable = x > 0 && x < INFINITY;
    double value = log64(usable ? x : 1.0);
    return usable ? value : (x == 0 ? -INFINITY : (x > 0 ? x : from_bits(0x7ff8000000000000)));
}

double any_expm1(double x) {
    return std::fabs(x) < 1e-5 ? x * (1.0 + x * 0.5) : exp64(x) - 1.0;
}

}  // namespace

#define UNARY(NAME, EXPRESSION)                                                \
    extern "C" void exact_##NAME(const float* x, float* out, int64_t n) {      \
        map(x, out, n, [](double v) { return EXPRESSION; });                   \
    }

UNARY(exp, exp64(v))
UNARY(log, any_log(v))
UNARY(expm1, any_expm1(v))
UNARY(sigmoid, sigmoid(v))
UNARY(tanh, tanh64(v))
UNARY(erf, erf64(v))
UNARY(softplus, softplus(v))
UNARY(gelu, v * normal_cdf(v))
UNARY(silu, v * sigmoid(v))

#define BINARY(NAME, EXPRESSION)                                                               \
    extern "C" void exact_##NAME(const float* g, const float* x, float* out, int64_t n) {      \
        map(g, x, out, n, [](double g_, double v) { return EXPRESSION; });                     \
    }

static inline double silu_slope(double v) {
    double s = sigmoid(v);
    return s * (1.0 + v * (1.0 - s));
}

BINARY(gelu_backward, g_ * (normal_cdf(v) + v * normal_pdf(v)))
BINARY(silu_backward, g_ * silu_slope(v))
BINARY(tanh_backward, g_ * (1.0 - v * v))
BINARY(sigmoid_backward, g_ * ((1.0 - v) * v))

extern "C" void exact_relu(const float* x, float* out, int64_t n) {
#pragma omp parallel for simd schedule(static) if (n > 4 * PARALLEL_ELEMENTS)
    for (i64 i = 0; i < n; ++i) out[i] = x[i] <= 0 ? 0.0f : x[i];
}
