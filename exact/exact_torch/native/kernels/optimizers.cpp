// Optimizer steps in place.
#include "steps.hpp"

using namespace exact;

namespace {
constexpr i64 PARALLEL_STEP_ELEMENTS = 1 << 13;
}

extern "C" void exact_adam(
    float* parameter, const float* gradient, float* first, float* second, float* largest, int64_t n,
    double shrink, double decay, double beta1, double rest1, double beta2, double rest2,
    double root_scale, double size, double eps
) {
    Adam step{shrink, decay, beta1, rest1, beta2, rest2, root_scale, size, eps};
#pragma omp parallel for simd schedule(static) if (n > PARALLEL_STEP_ELEMENTS)
    for (i64 i = 0; i < n; ++i)
        adam_step(
            step, parameter[i], gradient[i], first[i], second[i],
            largest == nullptr ? nullptr : largest + i);
}

extern "C" void exact_sgd(
    float* parameter, const float* gradient, float* buffer, int64_t n, int64_t first, double lr,
    double momentum, double rest, double decay, int64_t nesterov
) {
    Descent step{lr, momentum, rest, decay, first != 0, nesterov != 0};
#pragma omp parallel for simd schedule(static) if (n > PARALLEL_STEP_ELEMENTS)
    for (i64 i = 0; i < n; ++i)
        descent_step(step, parameter[i], gradient[i], buffer == nullptr ? nullptr : buffer + i);
}
