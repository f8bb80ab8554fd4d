// Optimizer steps in place.
#include "device.hpp"
#include "steps.hpp"

using namespace exact;

KERNEL exact_adam(
    float* parameter, const float* gradient, float* first, float* second, float* largest, i64 n,
    double shrink, double decay, double beta1, double rest1, double beta2, double rest2,
    double root_scale, double size, double eps
) {
    Adam step{shrink, decay, beta1, rest1, beta2, rest2, root_scale, size, eps};
    for (i64 i = first_index(); i < n; i += index_step())
        adam_step(
            step, parameter[i], gradient[i], first[i], second[i],
            largest == nullptr ? nullptr : largest + i);
}

KERNEL exact_sgd(
    float* parameter, const float* gradient, float* buffer, i64 n, i64 first, double lr,
    double momentum, double rest, double decay, i64 nesterov
) {
    Descent step{lr, momentum, rest, decay, first != 0, nesterov != 0};
    for (i64 i = first_index(); i < n; i += index_step())
        descent_step(step, parameter[i], gradient[i], buffer == nullptr ? nullptr : buffer + i);
}
