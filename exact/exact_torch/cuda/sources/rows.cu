// Sums, softmax and layer normalisation.
//
// A row belongs to a block. Where rows are few and long, or summed elements lie apart, many blocks
// share a sum: one kernel finds the largest patterns by atomicMax, a second adds integers on the
// grid by atomicAdd, a third scales. `largest` and `totals` are zero before.
#include "device.hpp"

namespace exact {

// ---- sums -----------------------------------------------------------------------------------------

template <class T>
EXACT_INLINE void sum_rows(const T* x, i64 rows, i64 n, double* out) {
    for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
        const T* p = x + row * n;
        double sum = block_sum(n, [p](i64 i) { return (double)p[i]; });
        if (threadIdx.x == 0) out[row] = sum;
    }
}

// A thread's share of (outer, n, inner), whose sets are summed over n: elements `first`, `first` +
// `step` ... of one column of each set it goes through. Columns go along the warps where there are
// several, so that reads are of neighbours; one column alone is read by whole blocks.
struct Share {
    i64 column, first, step;
    bool alone, inside;

    __device__ explicit Share(i64 inner) : alone(inner == 1) {
        i64 width = alone ? 1 : WARP, lines = blockDim.x / width;
        column = blockIdx.x * width + threadIdx.x % width;
        first = blockIdx.y * lines + threadIdx.x / width;
        step = gridDim.y * lines;
        inside = column < inner;
    }

    // Whether this thread is to write what it holds for the set, which may be its whole warp's.
    template <class Combine>
    __device__ bool gather(u64& mine, Combine combine) const {
        if (alone) mine = over_warp(mine, combine);
        return inside && (!alone || threadIdx.x % WARP == 0);
    }
};

template <class Load>
EXACT_INLINE void find_largest(i64 outer, i64 n, i64 inner, u64* largest, Load load) {
    Share share(inner);
    for (i64 o = blockIdx.z; o < outer; o += gridDim.z) {
        u64 mine = 0;
        if (share.inside)
            for (i64 i = share.first; i < n; i += share.step)
                mine = Largest()(mine, absolute_bits(load(o, i, share.column)));
        if (share.gather(mine, Largest()))
            atomicMax((Word*)largest + o * inner + share.column, (Word)mine);
    }
}

template <class Load>
EXACT_INLINE void add_up(
    i64 outer, i64 n, i64 inner, const u64* largest, u64* totals, Load load
) {
    Share share(inner);
    for (i64 o = blockIdx.z; o < outer; o += gridDim.z) {
        i64 set = o * inner + (share.inside ? share.column : 0);
        Grid grid(largest[set], n);
        u64 mine = 0;
        if (share.inside)
            for (i64 i = share.first; i < n; i += share.step) {
                double term = load(o, i, share.column);
                mine = grid.finite ? mine + grid.integer(term) : mine | special_kind(term);
            }
        if (grid.finite) {
            if (share.gather(mine, Total())) atomicAdd((Word*)totals + set, (Word)mine);
        } else {
            if (share.gather(mine, Union())) atomicOr((Word*)totals + set, (Word)mine);
        }
    }
}

// Rows of (n, d), each added to the row that index names; a thread takes one element.
template <class T, class Take>
EXACT_INLINE void over_terms(const T* x, const int64_t* index, i64 n, i64 d, Take take) {
    for (i64 e = first_index(); e < n * d; e += index_step())
        take((i64)index[e / d] * d + e % d, (i64)index[e / d], (double)x[e]);
}

// ---- softmax --------------------------------------------------------------------------------------

// Ordered as the numbers are, NaN above all.
EXACT_INLINE u64 order_key(float x) {
    u32 bits = bits_of(x);
    if (x != x) return 0xffffffff;
    return bits >> 31 ? ~bits : bits | 0x80000000;
}

EXACT_INLINE float from_order_key(u64 key) {
    u32 bits = (u32)key;
    return float_from_bits(bits >> 31 ? bits & 0x7fffffff : ~bits);
}

EXACT_INLINE bool is_finite(float x) { return (bits_of(x) & 0x7f800000) != 0x7f800000; }

}  // namespace exact

using namespace exact;

#define SUMS(KIND, TYPE)                                                                          \
    KERNEL exact_sum_rows_##KIND(const TYPE* x, i64 rows, i64 n, double* out) {                   \
        sum_rows(x, rows, n, out);                                                                \
    }                                                                                             \
    KERNEL exact_largest_##KIND(const TYPE* x, i64 outer, i64 n, i64 inner, u64* largest) {       \
        find_largest(outer, n, inner, largest, [=](i64 o, i64 i, i64 column) {                    \
            return (double)x[(o * n + i) * inner + column];                                       \
        });                                                                                       \
    }                                                                                             \
    KERNEL exact_totals_##KIND(                                                                   \
        const TYPE* x, i64 outer, i64 n, i64 inner, const u64* largest, u64* totals               \
    ) {                                                                                           \
        add_up(outer, n, inner, largest, totals, [=](i64 o, i64 i, i64 column) {                  \
            return (double)x[(o * n + i) * inner + column];                                       \
        });                                                                                       \
    }                                                                                             \
    KERNEL exact_largest_at_##KIND(                                                               \
        const TYPE* x, const int64_t* index, i64 n, i64 d, u64* largest, u64* counts              \
    ) {                                                                                           \
        over_terms(x, index, n, d, [=](i64 set, i64 row, double term) {                           \
            atomicMax((Word*)largest + set, (Word)absolute_bits(term));                           \
            if (set == row * d) atomicAdd((Word*)counts + row, (Word)1);                          \
        });                                                                                       \
    }                                                                                             \
    KERNEL exact_totals_at_##KIND(                                                                \
        const TYPE* x, const int64_t* index, i64 n, i64 d, const u64* largest,                    \
        const u64* counts, u64* totals                                                            \
    ) {                                                                                           \
        over_terms(x, index, n, d, [=](i64 set, i64 row, double term) {                           \
            Grid grid(largest[set], (i64)counts[row]);                                            \
            if (grid.finite)                                                                      \
                atomicAdd((Word*)totals + set, (Word)grid.integer(term));                         \
            else                                                                                  \
                atomicOr((Word*)totals + set, (Word)special_kind(term));                          \
        });                                                                                       \
    }

SUMS(f32, float)
SUMS(f64, double)

// The sums of sets; counts[set / d] terms each, or n where there are no counts.
KERNEL exact_finish_sums(
    const u64* largest, const u64* totals, const u64* counts, i64 sets, i64 d, i64 n, double* out
) {
    i64 set = first_index();
    if (set >= sets) return;
    Grid grid(largest[set], counts == nullptr ? n : (i64)counts[set / d]);
    out[set] = grid.sum(totals[set]);
}

KERNEL exact_softmax(
    const float* x, i64 rows, i64 n, i64 log, i64 empty_rows_are_zero, float* out
) {
    for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
        const float* p = x + row * n;
        float* o = out + row * n;
        u64 key = 0;
        for (i64 i = threadIdx.x; i < n; i += blockDim.x) key = Largest()(key, order_key(p[i]));
        float largest = from_order_key(over_block(key, Largest()));
        if (!is_finite(largest)) {
            bool hollow = empty_rows_are_zero && largest < 0;
            for (i64 i = threadIdx.x; i < n; i += blockDim.x)
                o[i] = hollow ? 0.0f : float_from_bits(0x7fc00000);
            continue;
        }
        double top = largest;
        u64 mine = 0;
        for (i64 i = threadIdx.x; i < n; i += blockDim.x)
            mine += (u64)(bits_of(exp64((double)p[i] - top) * 0x1p40 + ROUNDER) - ROUNDER_BITS);
        double sum = (double)(i64)over_block(mine, Total());
        double shift = log ? log64(sum * 0x1p-40) : 0.0, factor = 0x1p40 / sum;
        for (i64 i = threadIdx.x; i < n; i += blockDim.x) {
            double d = (double)p[i] - top;
            o[i] = (float)(log ? d - shift : exp64(d) * factor);
        }
    }
}

KERNEL exact_softmax_backward(
    const float* g, const float* y, i64 rows, i64 n, i64 log, float* out
) {
    for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
        const float *p = g + row * n, *q = y + row * n;
        float* o = out + row * n;
        if (log) {
            double sum = block_sum(n, [p](i64 i) { return (double)p[i]; });
            for (i64 i = threadIdx.x; i < n; i += blockDim.x) {
                double e = q[i] != q[i] ? (double)q[i] : exp64((double)q[i]);
                o[i] = canonical((float)((double)p[i] - e * sum));
            }
        } else {
            double sum = block_sum(n, [p, q](i64 i) { return (double)p[i] * (double)q[i]; });
            for (i64 i = threadIdx.x; i < n; i += blockDim.x)
                o[i] = canonical((float)((double)q[i] * ((double)p[i] - sum)));
        }
    }
}

// ---- layer normalisation --------------------------------------------------------------------------

KERNEL exact_layer_norm(
    const float* x, i64 rows, i64 n, const float* weight, const float* bias, double eps,
    float* y, float* mean, float* rstd
) {
    double count = (double)n;
    for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
        const float* p = x + row * n;
        float* o = y + row * n;
        double average = block_sum(n, [p](i64 i) { return (double)p[i]; }) / count;
        double squares = block_sum(n, [p, average](i64 i) {
            double d = (double)p[i] - average;
            return d * d;
        });
        double scale = 1.0 / sqrt(squares / count + eps);
        if (threadIdx.x == 0) {
            mean[row] = canonical((float)average);
            rstd[row] = canonical((float)scale);
        }
        for (i64 i = threadIdx.x; i < n; i += blockDim.x) {
            double value = ((double)p[i] - average) * scale;
            if (weight != nullptr) value = value * (double)weight[i];
            if (bias != nullptr) value = value + (double)bias[i];
            o[i] = canonical((float)value);
        }
    }
}

KERNEL exact_layer_norm_backward(
    const float* g, const float* x, const float* mean, const float* rstd, i64 rows, i64 n,
    const float* weight, float* dx
) {
    double count = (double)n;
    for (i64 row = blockIdx.x; row < rows; row += gridDim.x) {
        const float *p = g + row * n, *q = x + row * n;
        float* o = dx + row * n;
        double average = mean[row], scale = rstd[row];
        auto h = [=](i64 i) { return ((double)q[i] - average) * scale; };
        auto w = [=](i64 i) {
            return weight == nullptr ? (double)p[i] : (double)p[i] * (double)weight[i];
        };
        double first = block_sum(n, w) / count;
        double second = block_sum(n, [=](i64 i) { return w(i) * h(i); }) / count;
        for (i64 i = threadIdx.x; i < n; i += blockDim.x)
            o[i] = canonical((float)(scale * ((w(i) - first) - h(i) * second)));
    }
}

// The gradients of weight and bias are sums over rows: sets 0 .. n - 1 and n .. 2n - 1.
KERNEL exact_layer_norm_largest(
    const float* g, const float* x, const float* mean, const float* rstd, i64 rows, i64 n,
    u64* largest
) {
    find_largest(1, rows, n, largest, [=](i64, i64 row, i64 i) {
        return (double)g[row * n + i] *
               (((double)x[row * n + i] - (double)mean[row]) * (double)rstd[row]);
    });
    find_largest(1, rows, n, largest + n, [=](i64, i64 row, i64 i) {
        return (double)g[row * n + i];
    });
}

KERNEL exact_layer_norm_totals(
    const float* g, const float* x, const float* mean, const float* rstd, i64 rows, i64 n,
    const u64* largest, u64* totals
) {
    add_up(1, rows, n, largest, totals, [=](i64, i64 row, i64 i) {
        return (double)g[row * n + i] *
               (((double)x[row * n + i] - (double)mean[row]) * (double)rstd[row]);
    });
    add_up(1, rows, n, largest + n, totals + n, [=](i64, i64 row, i64 i) {
        return (double)g[row * n + i];
    });
}
