// Optimizer steps in place: float64 an element, each stored state rounded once (arithmetic/steps.py).
#include "arithmetic.hpp"

using namespace exact;

namespace {
constexpr i64 PARALLEL_STEP_ELEMENTS = 1 << 13;
}

// `shrink` multiplies the parameter (AdamW; 1 leaves it), `decay` of it is added to the gradient
// (Adam; 0 adds none); root_scale = sqrt(1 - beta2^t), size = lr/(1 - beta1^t). `largest` may be null.
extern "C" void exact_adam(
    float* parameter, const float* gradient, float* first, float* second, float* largest, int64_t n,
    double shrink, double decay, double beta1, double rest1, double beta2, double rest2,
    double root_scale, double size, double eps
) {
#pragma omp parallel for simd schedule(static) if (n > PARALLEL_STEP_ELEMENTS)
    for (i64 i = 0; i < n; ++i) {
        double p = (double)parameter[i] * shrink, g = gradient[i];
        g = decay != 0 ? g + p * decay : g;
        double m = (double)first[i] * beta1 + g * rest1;
        double v = (double)second[i] * beta2 + (g * rest2) * g;
        double w = v;
        if (largest != nullptr) {
            double before = largest[i];
            w = (before > v) | (before != before) ? before : v;
            largest[i] = (float)w;
        }
        double root = std::sqrt(w) / root_scale;
        parameter[i] = (float)(p - (m * size) / (root + eps));
        first[i] = (float)m;
        second[i] = (float)v;
    }
}

// `buffer` may be null; in its first step it becomes the gradient.
extern "C" void exact_sgd(
    float* parameter, const float* gradient, float* buffer, int64_t n, int64_t first, double lr,
    double momentum, double rest, double decay, int64_t nesterov
) {
#pragma omp parallel for simd schedule(static) if (n > PARALLEL_STEP_ELEMENTS)
    for (i64 i = 0; i < n; ++i) {
        double p = parameter[i], g = gradient[i];
        g = decay != 0 ? g + p * decay : g;
        if (buffer != nullptr) {
            double b = first ? g : (double)buffer[i] * momentum + g * rest;
            buffer[i] = (float)b;
            g = nesterov ? g + b * momentum : b;
        }
        parameter[i] = (float)(p - g * lr);
    }
}
