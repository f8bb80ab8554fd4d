// Optimizer steps of one element, as arithmetic/steps.py has them, for CPUs and GPUs: float64 inside,
// each stored state rounded once.
#pragma once

#include "arithmetic.hpp"

namespace exact {

// `shrink` multiplies the parameter (AdamW; 1 leaves it), `decay` of it is added to the gradient
// (Adam; 0 adds none); root_scale = sqrt(1 - beta2^t), size = lr/(1 - beta1^t).
struct Adam {
    double shrink, decay, beta1, rest1, beta2, rest2, root_scale, size, eps;
};

// `largest` may be null.
EXACT_INLINE void adam_step(
    const Adam& s, float& parameter, float gradient, float& first, float& second, float* largest
) {
    double p = (double)parameter * s.shrink, g = gradient;
    g = s.decay != 0 ? g + p * s.decay : g;
    double m = (double)first * s.beta1 + g * s.rest1;
    double v = (double)second * s.beta2 + (g * s.rest2) * g;
    double w = v;
    if (largest != nullptr) {
        double before = *largest;
        w = (before > v) | (before != before) ? before : v;
        *largest = (float)w;
    }
    double root = sqrt(w) / s.root_scale;
    parameter = (float)(p - (m * s.size) / (root + s.eps));
    first = (float)m;
    second = (float)v;
}

struct Descent {
    double lr, momentum, rest, decay;
    bool first, nesterov;
};

// `buffer` may be null; in its first step it becomes the gradient.
EXACT_INLINE void descent_step(const Descent& s, float& parameter, float gradient, float* buffer) {
    double p = parameter, g = gradient;
    g = s.decay != 0 ? g + p * s.decay : g;
    if (buffer != nullptr) {
        double b = s.first ? g : (double)*buffer * s.momentum + g * s.rest;
        *buffer = (float)b;
        g = s.nesterov ? g + b * s.momentum : b;
    }
    parameter = (float)(p - g * s.lr);
}

}  // namespace exact
