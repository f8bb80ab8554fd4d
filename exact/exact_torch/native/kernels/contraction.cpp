// Matrix products of quantised operands: exact in integers, rounded once (docs/exact-torch.md).
//
// The blocking is Goto and van de Geijn's ("Anatomy of high-performance matrix multiplication",
// ACM TOMS 34(3), 2008): a block of B is quantised and packed, then blocks of A, and tiles of C stay
// in registers. Because sums are exact, blocks, tiles and threads are free to be any.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "microkernels.hpp"

namespace exact {
namespace {

constexpr i64 BLOCK_ROWS = 1024, BLOCK_COLUMNS = 512, PACKED_ROWS = 96;
constexpr i64 SERIAL_WORK = 1 << 15;  // multiply-adds below which threads cost more than they save

// One operand as rows x K: A's rows, or B's columns.
struct Operand {
    const float* data;
    i64 row_stride, k_stride;
    double* multiplier;  // 2^(b-1-e) of each row
    double* unit;        // 2^(e-(b-1)), NaN where the row holds a NaN or an infinity

    float at(i64 row, i64 k) const { return data[row * row_stride + k * k_stride]; }
};

struct Problem {
    i64 rows, columns, inner;
    Operand a, b;
    const float* addend;
    i64 addend_row, addend_column;
    double alpha, beta;
    float* out;
};

template <class T>
T* scratch(std::unique_ptr<void, decltype(&free)>& memory, size_t& size, i64 count) {
    size_t wanted = ((size_t)count * sizeof(T) + 4095) / 4096 * 4096;
    if (wanted > size) {
        memory.reset();
        memory.reset(aligned_alloc(4096, wanted));
        size = wanted;
    }
    return (T*)memory.get();
}

struct Scratch {
    std::unique_ptr<void, decltype(&free)> memory[3] = {{nullptr, free}, {nullptr, free}, {nullptr, free}};
    size_t size[3] = {0, 0, 0};

    template <class T>
    T* get(int which, i64 count) {
        return scratch<T>(memory[which], size[which], count);
    }
};

thread_local Scratch scratches;

// ---- quantisation -------------------------------------------------------------------------------

void set_scales(const Operand& x, i64 row, u32 largest, i64 bits) {
    if (largest >= 0x7f800000) {
        x.multiplier[row] = 0.0;
        x.unit[row] = from_bits(0x7ff8000000000000);
        return;
    }
    i64 e = exponent_of((double)float_from_bits(largest));
    x.multiplier[row] = pow2(bits - 1 - e);
    x.unit[row] = pow2(e - (bits - 1));
}

// Patterns of absolute values are ordered as the values are, NaN above infinity.
void find_scales(const Operand& x, i64 first, i64 last, i64 inner, i64 bits) {
    if (x.row_stride == 1 && x.k_stride != 1) {
        constexpr i64 WIDTH = 128;
        u32 largest[WIDTH];
        for (i64 start = first; start < last; start += WIDTH) {
            i64 width = std::min(WIDTH, last - start);
            std::fill(largest, largest + WIDTH, 0u);
            for (i64 k = 0; k < inner; ++k) {
                const float* p = x.data + k * x.k_stride + start;
                for (i64 r = 0; r < width; ++r)
                    largest[r] = std::max(largest[r], bits_of(p[r]) & 0x7fffffffu);
            }
            for (i64 r = 0; r < width; ++r) set_scales(x, start + r, largest[r], bits);
        }
        return;
    }
    for (i64 row = first; row < last; ++row) {
        const float* p = x.data + row * x.row_stride;
        u32 largest = 0;
        if (x.k_stride == 1) {
            for (i64 k = 0; k < inner; ++k) largest = std::max(largest, bits_of(p[k]) & 0x7fffffffu);
        } else {
            for (i64 k = 0; k < inner; ++k)
                largest = std::max(largest, bits_of(p[k * x.k_stride]) & 0x7fffffffu);
        }
        set_scales(x, row, largest, bits);
    }
}

static inline double quantised(float x, double multiplier) {
    return ((double)x * multiplier + ROUNDER) - ROUNDER;
}

static inline i32 quantised_int(float x, double multiplier) {
    return (i32)(bits_of((double)x * multiplier + ROUNDER));
}

// Packs `width` rows from `row` (fewer at the end: zeros) and K elements [k0, k0 + length).
template <class Tile, int WIDTH>
void pack_panel(const Operand& x, i64 row, i64 rows, i64 k0, i64 length, typename Tile::packed* out);

template <int WIDTH>
void pack_float64(const Operand& x, i64 row, i64 rows, i64 k0, i64 length, double* out) {
    if (rows < WIDTH) memset(out, 0, sizeof(double) * WIDTH * length);
    if (x.row_stride == 1) {
        for (i64 k = 0; k < length; ++k) {
            const float* p = x.data + (k0 + k) * x.k_stride + row;
            if (rows == WIDTH) {
                for (int r = 0; r < WIDTH; ++r)
                    out[k * WIDTH + r] = quantised(p[r], x.multiplier[row + r]);
            } else {
                for (i64 r = 0; r < rows; ++r)
                    out[k * WIDTH + r] = quantised(p[r], x.multiplier[row + r]);
            }
        }
        return;
    }
    for (i64 r = 0; r < rows; ++r) {
        const float* p = x.data + (row + r) * x.row_stride + k0 * x.k_stride;
        double multiplier = x.multiplier[row + r];
        for (i64 k = 0; k < length; ++k)
            out[k * WIDTH + r] = quantised(p[k * x.k_stride], multiplier);
    }
}

template <int WIDTH>
void pack_pairs(const Operand& x, i64 row, i64 rows, i64 k0, i64 length, i32* out) {
    i64 steps = (length + 1) / 2;
    if (rows < WIDTH || length % 2) memset(out, 0, sizeof(i32) * WIDTH * steps);
    for (i64 step = 0; step < steps; ++step) {
        bool both = 2 * step + 1 < length;
        const float* p = x.data + row * x.row_stride + (k0 + 2 * step) * x.k_stride;
        i32* o = out + step * WIDTH;
        if (both && rows == WIDTH && x.row_stride == 1) {
            const float* q = p + x.k_stride;
            for (int r = 0; r < WIDTH; ++r) {
                double m = x.multiplier[row + r];
                o[r] = (quantised_int(p[r], m) & 0xffff) | (i32)((u32)quantised_int(q[r], m) << 16);
            }
        } else {
            for (i64 r = 0; r < rows; ++r) {
                double m = x.multiplier[row + r];
                const float* s = p + r * x.row_stride;
                i32 high = both ? quantised_int(s[x.k_stride], m) : 0;
                o[r] = (quantised_int(s[0], m) & 0xffff) | (i32)((u32)high << 16);
            }
        }
    }
}

template <int WIDTH>
void pack_float32(const Operand& x, i64 row, i64 rows, i64 k0, i64 length, float* out) {
    if (rows < WIDTH) memset(out, 0, sizeof(float) * WIDTH * length);
    if (x.row_stride == 1) {
        for (i64 k = 0; k < length; ++k)
            memcpy(out + k * WIDTH, x.data + (k0 + k) * x.k_stride + row, sizeof(float) * rows);
        return;
    }
    for (i64 r = 0; r < rows; ++r)
        for (i64 k = 0; k < length; ++k) out[k * WIDTH + r] = x.at(row + r, k0 + k);
}

template <int WIDTH>
void pack(TileE21, const Operand& x, i64 row, i64 rows, i64 k0, i64 length, double* out) {
    pack_float64<WIDTH>(x, row, rows, k0, length, out);
}
template <int WIDTH>
void pack(TileE14, const Operand& x, i64 row, i64 rows, i64 k0, i64 length, i32* out) {
    pack_pairs<WIDTH>(x, row, rows, k0, length, out);
}
template <int WIDTH>
void pack(TileFMA, const Operand& x, i64 row, i64 rows, i64 k0, i64 length, float* out) {
    pack_float32<WIDTH>(x, row, rows, k0, length, out);
}

// ---- the product --------------------------------------------------------------------------------

template <class Tile>
void add_block(
    const Problem& p, i64 m0, i64 m1, i64 n0, i64 n1, i64 k0, i64 length, typename Tile::sum* sums
) {
    using packed = typename Tile::packed;
    constexpr i64 NR = Tile::NR;
    i64 steps = (length + Tile::K_STEP - 1) / Tile::K_STEP, width = n1 - n0;
    i64 columns = (width + NR - 1) / NR;
    packed* right = scratches.get<packed>(0, columns * NR * steps);
    packed* left = scratches.get<packed>(1, PACKED_ROWS * steps);
    for (i64 t = 0; t < columns; ++t)
        pack<(int)NR>(Tile{}, p.b, n0 + t * NR, std::min(NR, width - t * NR), k0, length,
                      right + t * NR * steps);
    for (i64 m = m0; m < m1; m += PACKED_ROWS) {
        i64 height = std::min(PACKED_ROWS, m1 - m), panels = (height + MR - 1) / MR;
        for (i64 t = 0; t < panels; ++t)
            pack<MR>(Tile{}, p.a, m + t * MR, std::min<i64>(MR, height - t * MR), k0, length,
                     left + t * MR * steps);
        for (i64 u = 0; u < columns; ++u)
            for (i64 t = 0; t < panels; ++t) {
                i64 rows = std::min<i64>(MR, height - t * MR), cols = std::min(NR, width - u * NR);
                auto* c = sums + (m - m0 + t * MR) * width + u * NR;
                const packed *x = left + t * MR * steps, *y = right + u * NR * steps;
                if (rows == MR && cols == NR) {
                    Tile::add_tile(x, y, c, width, steps);
                    continue;
                }
                alignas(64) typename Tile::sum edge[MR * NR] = {};
                for (i64 i = 0; i < rows; ++i)
                    for (i64 j = 0; j < cols; ++j) edge[i * NR + j] = c[i * width + j];
                Tile::add_tile(x, y, edge, NR, steps);
                for (i64 i = 0; i < rows; ++i)
                    for (i64 j = 0; j < cols; ++j) c[i * width + j] = edge[i * NR + j];
            }
    }
}

void write_row(const Problem& p, i64 i, i64 n0, i64 width, const double* values) {
    float* out = p.out + i * p.columns + n0;
    if (p.addend == nullptr) {
        for (i64 j = 0; j < width; ++j) out[j] = canonical((float)(values[j] * p.alpha));
        return;
    }
    const float* addend = p.addend + i * p.addend_row + n0 * p.addend_column;
    for (i64 j = 0; j < width; ++j) {
        double scaled = (double)addend[j * p.addend_column] * p.beta;
        out[j] = canonical((float)(values[j] * p.alpha + scaled));
    }
}

template <class Sum>
void write_block(const Problem& p, i64 m0, i64 m1, i64 n0, i64 n1, const Sum* sums, bool scaled) {
    i64 width = n1 - n0;
    double values[BLOCK_COLUMNS];
    for (i64 i = m0; i < m1; ++i) {
        const Sum* row = sums + (i - m0) * width;
        if (scaled) {
            double unit = p.a.unit[i];
            const double* units = p.b.unit + n0;
            for (i64 j = 0; j < width; ++j) values[j] = ((double)row[j] * unit) * units[j];
        } else {
            for (i64 j = 0; j < width; ++j) values[j] = (double)row[j];
        }
        write_row(p, i, n0, width, values);
    }
}

// Longest K whose integer sums are exact in float64 (bits b: |q| <= 2^b).
constexpr i64 exact_length(i64 bits) { return (i64)1 << (53 - 2 * bits); }

template <class Tile>
void multiply(const Problem& p, i64 m0, i64 m1, i64 n0, i64 n1, i64 chunk) {
    using sum = typename Tile::sum;
    constexpr i64 LENGTH = Tile::STEPS * Tile::K_STEP;
    for (i64 n = n0; n < n1; n += BLOCK_COLUMNS)
        for (i64 m = m0; m < m1; m += BLOCK_ROWS) {
            i64 me = std::min(m1, m + BLOCK_ROWS), ne = std::min(n1, n + BLOCK_COLUMNS);
            i64 count = (me - m) * (ne - n);
            sum* sums = scratches.get<sum>(2, count);
            memset(sums, 0, sizeof(sum) * count);
            std::vector<i64> totals(p.inner > chunk ? count : 0);
            for (i64 k = 0; k < p.inner;) {
                i64 end = std::min(p.inner, k - k % chunk + chunk);
                i64 length = std::min(LENGTH, end - k);
                add_block<Tile>(p, m, me, n, ne, k, length, sums);
                k += length;
                if (!totals.empty() && k == end)
                    for (i64 t = 0; t < count; ++t) {
                        totals[t] += (i64)sums[t];
                        sums[t] = 0;
                    }
            }
            for (size_t t = 0; t < totals.size(); ++t) sums[t] = (sum)totals[t];
            write_block(p, m, me, n, ne, sums, p.a.unit != nullptr);
        }
}

enum Precision { E21, E14, FMA };

void multiply(Precision precision, const Problem& p, i64 m0, i64 m1, i64 n0, i64 n1) {
    switch (precision) {
        case E21: return multiply<TileE21>(p, m0, m1, n0, n1, exact_length(20));
        case E14: return multiply<TileE14>(p, m0, m1, n0, n1, exact_length(13));
        case FMA: return multiply<TileFMA>(p, m0, m1, n0, n1, INT64_MAX / 2);
    }
}

i64 threads() {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

// The part `index` of `parts` of [0, size), in multiples of `unit`.
void part_of(i64 size, i64 unit, i64 parts, i64 index, i64& first, i64& last) {
    i64 units = (size + unit - 1) / unit;
    first = std::min(size, units * index / parts * unit);
    last = std::min(size, units * (index + 1) / parts * unit);
}

}  // namespace
}  // namespace exact

// out[batch][M][N] = alpha·(a @ b) + beta·addend; strides count elements, out is contiguous.
// precision: 0 E21, 1 E14, 2 FMA.
extern "C" void exact_contract(
    int64_t precision, int64_t batch, int64_t rows, int64_t columns, int64_t inner, const float* a,
    int64_t a_batch, int64_t a_row, int64_t a_column, const float* b, int64_t b_batch, int64_t b_row,
    int64_t b_column, const float* addend, int64_t addend_batch, int64_t addend_row,
    int64_t addend_column, double alpha, double beta, float* out
) {
    using namespace exact;
    bool scaled = precision != FMA;
    i64 bits = precision == E21 ? 20 : 13;
    // operands that a batch shares are scaled once
    i64 a_count = a_batch ? batch : 1, b_count = b_batch ? batch : 1;
    std::vector<double> scales(scaled ? 2 * (a_count * rows + b_count * columns) : 0);
    double* next = scales.data();
    auto take = [&](i64 count) {
        double* taken = scaled ? next : nullptr;
        next += scaled ? count : 0;
        return taken;
    };
    double *am = take(a_count * rows), *au = take(a_count * rows);
    double *bm = take(b_count * columns), *bu = take(b_count * columns);
    auto left = [&](i64 i) {
        i64 s = a_batch ? i * rows : 0;
        return Operand{a + i * a_batch, a_row, a_column, scaled ? am + s : nullptr, scaled ? au + s : nullptr};
    };
    auto right = [&](i64 i) {
        i64 s = b_batch ? i * columns : 0;
        return Operand{b + i * b_batch, b_column, b_row, scaled ? bm + s : nullptr, scaled ? bu + s : nullptr};
    };
    i64 team = batch * rows * columns * inner < SERIAL_WORK ? 1 : threads();
    i64 parts = batch >= team ? 1 : (team + batch - 1) / batch;
    bool by_columns = columns >= rows;
    i64 unit = by_columns ? 32 : MR;
#pragma omp parallel num_threads(team)
    {
        if (scaled) {
#pragma omp for schedule(static) nowait
            for (i64 t = 0; t < a_count * parts; ++t) {
                i64 first, last;
                part_of(rows, 1, parts, t % parts, first, last);
                find_scales(left(t / parts), first, last, inner, bits);
            }
#pragma omp for schedule(static)
            for (i64 t = 0; t < b_count * parts; ++t) {
                i64 first, last;
                part_of(columns, 1, parts, t % parts, first, last);
                find_scales(right(t / parts), first, last, inner, bits);
            }
        }
#pragma omp for schedule(dynamic)
        for (i64 t = 0; t < batch * parts; ++t) {
            i64 i = t / parts, m0 = 0, m1 = rows, n0 = 0, n1 = columns;
            if (by_columns) part_of(columns, unit, parts, t % parts, n0, n1);
            else part_of(rows, unit, parts, t % parts, m0, m1);
            const float* c = addend == nullptr ? nullptr : addend + i * addend_batch;
            Problem p{rows, columns, inner, left(i), right(i), c, addend_row, addend_column, alpha,
                      beta, out + i * rows * columns};
            multiply((Precision)precision, p, m0, m1, n0, n1);
        }
    }
}
