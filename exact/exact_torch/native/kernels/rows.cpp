// Sums, softmax and layer normalisation, one pass each over rows that stay in cache.
//
// Functions that return a flag return 1, having written nothing of use, when they met a NaN or an
// infinity where the exact sum has special rules; the caller then computes by the reference.
#include <algorithm>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "arithmetic.hpp"

namespace exact {
namespace {

constexpr i64 PARALLEL_ROWS_ELEMENTS = 1 << 14;
constexpr u64 ABSOLUTE = 0x7fffffffffffffff, INFINITE = 0x7ff0000000000000;

static inline u64 absolute_bits(double x) { return (u64)bits_of(x) & ABSOLUTE; }

// The exact sum of n values: load(i) gives the i-th; false when it is not finite.
template <class Load>
static inline bool exact_sum(i64 n, double& sum, Load load) {
    u64 largest = 0;
    for (i64 i = 0; i < n; ++i) {
        u64 bits = absolute_bits(load(i));
        largest = bits > largest ? bits : largest;
    }
    if (largest >= INFINITE) return false;
    i64 grid = grid_bits(n), e = exponent_of(from_bits((i64)largest));
    double scale = pow2(grid - e);
    u64 total = 0;  // of the patterns of rounded values, each ROUNDER_BITS too large
    for (i64 i = 0; i < n; ++i) total += (u64)bits_of(load(i) * scale + ROUNDER);
    sum = (double)(i64)(total - (u64)n * (u64)ROUNDER_BITS) * pow2(e - grid);
    return true;
}

template <class T>
int sum_rows(const T* x, i64 rows, i64 n, double* out) {
    int special = 0;
#pragma omp parallel for reduction(| : special) if (rows * n > PARALLEL_ROWS_ELEMENTS)
    for (i64 r = 0; r < rows; ++r) {
        const T* p = x + r * n;
        special |= !exact_sum(n, out[r], [p](i64 i) { return (double)p[i]; });
    }
    return special;
}

// Column sums in two sweeps: largest magnitudes, then integers; columns are shared out to threads.
template <class T>
int sum_columns(const T* x, i64 rows, i64 columns, double* out) {
    constexpr i64 WIDTH = 64;
    i64 grid = grid_bits(rows);
    int special = 0;
#pragma omp parallel for reduction(| : special) if (rows * columns > PARALLEL_ROWS_ELEMENTS)
    for (i64 start = 0; start < columns; start += WIDTH) {
        i64 width = std::min(WIDTH, columns - start);
        u64 largest[WIDTH] = {}, total[WIDTH] = {};
        double scale[WIDTH];
        for (i64 r = 0; r < rows; ++r) {
            const T* p = x + r * columns + start;
            for (i64 c = 0; c < width; ++c) {
                u64 bits = absolute_bits((double)p[c]);
                largest[c] = bits > largest[c] ? bits : largest[c];
            }
        }
        for (i64 c = 0; c < width; ++c) {
            special |= largest[c] >= INFINITE;
            scale[c] = pow2(grid - exponent_of(from_bits((i64)largest[c])));
        }
        for (i64 r = 0; r < rows; ++r) {
            const T* p = x + r * columns + start;
            for (i64 c = 0; c < width; ++c)
                total[c] += (u64)bits_of((double)p[c] * scale[c] + ROUNDER);
        }
        for (i64 c = 0; c < width; ++c) {
            i64 e = exponent_of(from_bits((i64)largest[c]));
            out[start + c] = (double)(i64)(total[c] - (u64)rows * (u64)ROUNDER_BITS) * pow2(e - grid);
        }
    }
    return special;
}

}  // namespace
}  // namespace exact

using namespace exact;

extern "C" int exact_sum_rows_f32(const float* x, int64_t rows, int64_t n, double* out) {
    return sum_rows(x, rows, n, out);
}
extern "C" int exact_sum_rows_f64(const double* x, int64_t rows, int64_t n, double* out) {
    return sum_rows(x, rows, n, out);
}
extern "C" int exact_sum_columns_f32(const float* x, int64_t rows, int64_t n, double* out) {
    return sum_columns(x, rows, n, out);
}
extern "C" int exact_sum_columns_f64(const double* x, int64_t rows, int64_t n, double* out) {
    return sum_columns(x, rows, n, out);
}

extern "C" void exact_softmax(
    const float* x, int64_t rows, int64_t n, int64_t log, int64_t empty_rows_are_zero, float* out
) {
#pragma omp parallel if (rows * n > PARALLEL_ROWS_ELEMENTS / 4)
    {
        std::vector<double> buffer(n);
        double* e = buffer.data();
#pragma omp for schedule(static)
        for (i64 r = 0; r < rows; ++r) {
            const float* p = x + r * n;
            float* o = out + r * n;
            float largest = -INFINITY;
            int nan = 0;
            for (i64 i = 0; i < n; ++i) {
                largest = p[i] > largest ? p[i] : largest;
                nan |= p[i] != p[i];
            }
            if (nan || std::isinf(largest)) {
                bool hollow = empty_rows_are_zero && !nan && largest < 0;
                std::fill(o, o + n, hollow ? 0.0f : float_from_bits(0x7fc00000));
                continue;
            }
            double top = largest;
            u64 total = 0;
            for (i64 i = 0; i < n; ++i) {
                e[i] = exp64((double)p[i] - top);
                total += (u64)bits_of(e[i] * 0x1p40 + ROUNDER);
            }
            double sum = (double)(i64)(total - (u64)n * (u64)ROUNDER_BITS);
            if (log) {
                double shift = log64(sum * 0x1p-40);
                for (i64 i = 0; i < n; ++i) o[i] = (float)(((double)p[i] - top) - shift);
            } else {
                double factor = 0x1p40 / sum;
                for (i64 i = 0; i < n; ++i) o[i] = (float)(e[i] * factor);
            }
        }
    }
}

extern "C" int exact_softmax_backward(
    const float* g, const float* y, int64_t rows, int64_t n, int64_t log, float* out
) {
    int special = 0;
#pragma omp parallel for schedule(static) reduction(| : special) if (rows * n > PARALLEL_ROWS_ELEMENTS / 4)
    for (i64 r = 0; r < rows; ++r) {
        const float *p = g + r * n, *q = y + r * n;
        float* o = out + r * n;
        double sum;
        if (log) {
            special |= !exact_sum(n, sum, [p](i64 i) { return (double)p[i]; });
            for (i64 i = 0; i < n; ++i) {
                special |= q[i] != q[i];
                o[i] = canonical((float)((double)p[i] - exp64((double)q[i]) * sum));
            }
        } else {
            special |= !exact_sum(n, sum, [p, q](i64 i) { return (double)p[i] * (double)q[i]; });
            for (i64 i = 0; i < n; ++i)
                o[i] = canonical((float)((double)q[i] * ((double)p[i] - sum)));
        }
    }
    return special;
}

extern "C" int exact_layer_norm(
    const float* x, int64_t rows, int64_t n, const float* weight, const float* bias, double eps,
    float* y, float* mean, float* rstd
) {
    int special = 0;
    double count = (double)n;
#pragma omp parallel for schedule(static) reduction(| : special) if (rows * n > PARALLEL_ROWS_ELEMENTS / 4)
    for (i64 r = 0; r < rows; ++r) {
        const float* p = x + r * n;
        float* o = y + r * n;
        double sum, squares;
        if (!exact_sum(n, sum, [p](i64 i) { return (double)p[i]; })) {
            special = 1;
            continue;
        }
        double average = sum / count;
        if (!exact_sum(n, squares, [p, average](i64 i) {
                double d = (double)p[i] - average;
                return d * d;
            })) {
            special = 1;
            continue;
        }
        double scale = 1.0 / std::sqrt(squares / count + eps);
        mean[r] = (float)average;
        rstd[r] = canonical((float)scale);
        if (weight != nullptr && bias != nullptr) {
            for (i64 i = 0; i < n; ++i)
                o[i] = canonical(
                    (float)((((double)p[i] - average) * scale) * (double)weight[i] + (double)bias[i]));
        } else if (weight != nullptr) {
            for (i64 i = 0; i < n; ++i)
                o[i] = canonical((float)((((double)p[i] - average) * scale) * (double)weight[i]));
        } else if (bias != nullptr) {
            for (i64 i = 0; i < n; ++i)
                o[i] = canonical((float)(((double)p[i] - average) * scale + (double)bias[i]));
        } else {
            for (i64 i = 0; i < n; ++i) o[i] = canonical((float)(((double)p[i] - average) * scale));
        }
    }
    return special;
}

// Two sweeps over the rows: dx and the largest magnitudes of each column, then the columns' integers.
extern "C" int exact_layer_norm_backward(
    const float* g, const float* x, const float* mean, const float* rstd, int64_t rows, int64_t n,
    const float* weight, float* dx, float* dweight, float* dbias
) {
    int special = 0;
    double count = (double)n;
    i64 grid = grid_bits(rows);
    std::vector<u64> largest(2 * n), total(2 * n);
    std::vector<double> scale(2 * n);
#pragma omp parallel reduction(| : special) if (rows * n > PARALLEL_ROWS_ELEMENTS / 4)
    {
        std::vector<double> h(n), w(n);
        std::vector<u64> mine(2 * n);
#pragma omp for schedule(static)
        for (i64 r = 0; r < rows; ++r) {
            const float *p = g + r * n, *q = x + r * n;
            float* o = dx + r * n;
            double m = mean[r], s = rstd[r], first, second;
            double *hd = h.data(), *wd = w.data();
            u64* top = mine.data();
            for (i64 i = 0; i < n; ++i) {
                hd[i] = ((double)q[i] - m) * s;
                wd[i] = weight != nullptr ? (double)p[i] * (double)weight[i] : (double)p[i];
                u64 a = absolute_bits((double)p[i] * hd[i]), b = absolute_bits((double)p[i]);
                top[i] = a > top[i] ? a : top[i];
                top[n + i] = b > top[n + i] ? b : top[n + i];
            }
            bool finite = exact_sum(n, first, [wd](i64 i) { return wd[i]; }) &&
                          exact_sum(n, second, [wd, hd](i64 i) { return wd[i] * hd[i]; });
            if (!finite) {
                special = 1;
                continue;
            }
            first /= count;
            second /= count;
            for (i64 i = 0; i < n; ++i)
                o[i] = canonical((float)(s * ((wd[i] - first) - hd[i] * second)));
        }
#pragma omp critical
        for (i64 i = 0; i < 2 * n; ++i) largest[i] = std::max(largest[i], mine[i]);
#pragma omp barrier
#pragma omp for schedule(static)
        for (i64 i = 0; i < 2 * n; ++i) {
            special |= largest[i] >= INFINITE;
            scale[i] = pow2(grid - exponent_of(from_bits((i64)largest[i])));
        }
        std::fill(mine.begin(), mine.end(), 0);
#pragma omp for schedule(static)
        for (i64 r = 0; r < rows; ++r) {
            const float *p = g + r * n, *q = x + r * n;
            double m = mean[r], s = rstd[r];
            u64* sums = mine.data();
            const double* factor = scale.data();
            for (i64 i = 0; i < n; ++i) {
                double hi = ((double)q[i] - m) * s;
                sums[i] += (u64)bits_of(((double)p[i] * hi) * factor[i] + ROUNDER) - (u64)ROUNDER_BITS;
                sums[n + i] += (u64)bits_of((double)p[i] * factor[n + i] + ROUNDER) - (u64)ROUNDER_BITS;
            }
        }
#pragma omp critical
        for (i64 i = 0; i < 2 * n; ++i) total[i] += mine[i];
    }
    for (i64 i = 0; i < 2 * n; ++i) {
        i64 e = exponent_of(from_bits((i64)largest[i]));
        (i < n ? dweight[i] : dbias[i - n]) = (float)((double)(i64)total[i] * pow2(e - grid));
    }
    return special;
}
