// Matrix products of quantised operands: exact in integers, rounded once (docs/exact-torch.md).
//
// Both operands are seen as rows x K: A's rows, and B's columns. `largest` holds each row's largest
// pattern of |x|, from which every kernel derives the row's scale; patterns from 0x7f800000 on are
// infinities and NaN, which make the row's results NaN. Three ways from there, of equal bits:
//
// - digits: quantises tiles to balanced radix-128 digits and multiplies them by dp4a, in one kernel;
//   for small products and batches on GPUs with slow float64;
// - planes: writes planes of digits and of their sums for tensor cores' int8 products (Karatsuba:
//   3 for E14, 6 for E21), then recombines these;
// - float64: writes the integers as float64 for one float64 product, then scales that.
#include "device.hpp"

namespace exact {

constexpr u32 INFINITE_F32 = 0x7f800000;

// What makes integers of a row's elements, and values of its integers.
struct Scale {
    double multiplier, unit;

    __device__ Scale(u32 largest, i64 bits) : multiplier(0), unit(from_bits(NAN_BITS)) {
        if (largest >= INFINITE_F32) return;
        i64 e = exponent_of((double)float_from_bits(largest));
        multiplier = pow2(bits - 1 - e);
        unit = pow2(e - (bits - 1));
    }

    // The low half of the bits holds it. In rows that are not finite it may be any: their unit is NaN.
    __device__ int integer(float x) const { return (int)bits_of((double)x * multiplier + ROUNDER); }
};

// A result's epilogue: alpha·value + beta·addend, rounded once.
struct Epilogue {
    const float* addend;
    i64 batch_stride, row_stride, column_stride;
    double alpha, beta;

    __device__ float operator()(double value, i64 batch, i64 row, i64 column) const {
        value = value * alpha;
        if (addend != nullptr) {
            i64 at = batch * batch_stride + row * row_stride + column * column_stride;
            value = value + (double)addend[at] * beta;
        }
        return canonical((float)value);
    }
};

// Takes the lowest balanced digit, in [-64, 63], off an integer.
EXACT_INLINE int take_digit(int& rest) {
    int digit = ((rest + 64) & 127) - 64;
    rest = (rest - digit) >> 7;
    return digit;
}

EXACT_INLINE u32 packed_digits(const int (&digit)[4]) {
    u32 word = 0;
    for (int j = 0; j < 4; ++j) word |= (u32)(digit[j] & 255) << (8 * j);
    return word;
}

// ---- digits ---------------------------------------------------------------------------------------

struct Side {
    const float* data;
    i64 batch_stride, row_stride, k_stride;
    const u32* largest;
    i64 largest_batch_stride;
};

constexpr int TILE = 64, STEP = 32, QUADS = STEP / 4, PER_THREAD = TILE / 16;
constexpr i64 INT32_INNER_MAX = 1 << 16;  // 3 products of at most 2^12 each: below 2^31

// Puts the digits of a tile of rows and STEP elements of K into shared memory, 4 in a word.
template <int DIGITS>
EXACT_INLINE void load_digits(
    const Side& side, const float* data, const double* multiplier, i64 first, i64 rows, i64 k0,
    i64 inner, int (&words)[DIGITS][QUADS][TILE + 1]
) {
    bool along = side.k_stride <= side.row_stride;  // neighbouring threads read neighbours
    for (int at = threadIdx.x; at < TILE * QUADS; at += THREADS_MAX) {
        int row = along ? at / QUADS : at % TILE, quad = along ? at % QUADS : at / TILE;
        int digit[DIGITS][4] = {};
        if (first + row < rows) {
            const float* p = data + (first + row) * side.row_stride;
            double scale = multiplier[row];
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                i64 k = k0 + quad * 4 + j;
                double x = k < inner ? (double)p[k * side.k_stride] : 0.0;
                int rest = (int)bits_of(x * scale + ROUNDER);
#pragma unroll
                for (int d = 0; d < DIGITS - 1; ++d) digit[d][j] = take_digit(rest);
                digit[DIGITS - 1][j] = rest;
            }
        }
#pragma unroll
        for (int d = 0; d < DIGITS; ++d) words[d][quad][row] = (int)packed_digits(digit[d]);
    }
}

template <int DIGITS, int BITS>
EXACT_INLINE void contract_digits(
    i64 batches, i64 rows, i64 columns, i64 inner, const Side& a, const Side& b,
    const Epilogue& epilogue, float* out
) {
    __shared__ int left[DIGITS][QUADS][TILE + 1], right[DIGITS][QUADS][TILE + 1];
    __shared__ double multiplier[2][TILE], unit[2][TILE];
    constexpr int WEIGHTS = 2 * DIGITS - 1;
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    i64 tiles = divided_up(columns, TILE);
    i64 first_row = blockIdx.x / tiles * TILE, first_column = blockIdx.x % tiles * TILE;
    for (i64 batch = blockIdx.z; batch < batches; batch += gridDim.z) {
        __syncthreads();  // the batch before has been written
        for (int at = threadIdx.x; at < 2 * TILE; at += THREADS_MAX) {
            int of_b = at / TILE, row = at % TILE;
            i64 index = (of_b ? first_column : first_row) + row;
            bool inside = index < (of_b ? columns : rows);
            i64 stride = of_b ? b.largest_batch_stride : a.largest_batch_stride;
            const u32* largest = (of_b ? b.largest : a.largest) + batch * stride;
            Scale scale(inside ? largest[index] : 0, BITS);
            multiplier[of_b][row] = scale.multiplier;
            unit[of_b][row] = scale.unit;
        }
        __syncthreads();
        i64 total[PER_THREAD][PER_THREAD] = {};
        for (i64 start = 0; start < inner; start += INT32_INNER_MAX) {
            i64 stop = smaller(start + INT32_INNER_MAX, inner);
            int sum[WEIGHTS][PER_THREAD][PER_THREAD] = {};
            for (i64 k0 = start; k0 < stop; k0 += STEP) {
                load_digits<DIGITS>(
                    a, a.data + batch * a.batch_stride, multiplier[0], first_row, rows, k0, stop, left);
                load_digits<DIGITS>(
                    b, b.data + batch * b.batch_stride, multiplier[1], first_column, columns, k0, stop,
                    right);
                __syncthreads();
                for (int quad = 0; quad < QUADS; ++quad) {
                    int x[DIGITS][PER_THREAD], y[DIGITS][PER_THREAD];
#pragma unroll
                    for (int d = 0; d < DIGITS; ++d)
#pragma unroll
                        for (int i = 0; i < PER_THREAD; ++i) {
                            x[d][i] = left[d][quad][ty + 16 * i];
                            y[d][i] = right[d][quad][tx + 16 * i];
                        }
#pragma unroll
                    for (int d = 0; d < DIGITS; ++d)
#pragma unroll
                        for (int e = 0; e < DIGITS; ++e)
#pragma unroll
                            for (int i = 0; i < PER_THREAD; ++i)
#pragma unroll
                                for (int j = 0; j < PER_THREAD; ++j)
                                    sum[d + e][i][j] = __dp4a(x[d][i], y[e][j], sum[d + e][i][j]);
                }
                __syncthreads();
            }
#pragma unroll
            for (int w = 0; w < WEIGHTS; ++w)
#pragma unroll
                for (int i = 0; i < PER_THREAD; ++i)
#pragma unroll
                    for (int j = 0; j < PER_THREAD; ++j)
                        total[i][j] += (i64)sum[w][i][j] * ((i64)1 << (7 * w));
        }
#pragma unroll
        for (int i = 0; i < PER_THREAD; ++i)
#pragma unroll
            for (int j = 0; j < PER_THREAD; ++j) {
                i64 row = first_row + ty + 16 * i, column = first_column + tx + 16 * j;
                if (row >= rows || column >= columns) continue;
                double value = (double)total[i][j] * unit[0][ty + 16 * i] * unit[1][tx + 16 * j];
                out[(batch * rows + row) * columns + column] = epilogue(value, batch, row, column);
            }
    }
}

// ---- fused multiply-adds --------------------------------------------------------------------------

struct alignas(16) Four {
    float of[4];
};

constexpr int CHAIN_STEP = 16;

// A block computes SIZE x SIZE results, a thread WIDTH x WIDTH of them: groups of 4, 64 apart. The
// next tiles are read into registers while the present ones are used. K's end is not padded: adding
// 0·0 would make +0 of a sum that is -0.
template <int SIZE>
struct Chain {
    static constexpr int WIDTH = SIZE / 16, GROUPS = WIDTH / 4;
    static constexpr int LOADS = SIZE * CHAIN_STEP / THREADS_MAX;

    // A thread's share of a side's tile: elements that lie `row_step` and `k_step` apart.
    struct Reader {
        const float* next;
        i64 rows_left, k_left, step, tile_step;
        int row, k, row_step, k_step;
        float kept[LOADS];

        __device__ Reader(const Side& side, const float* data, i64 first, i64 rows, i64 inner) {
            bool along = side.k_stride <= side.row_stride;  // neighbours read neighbours
            row = along ? threadIdx.x / CHAIN_STEP : threadIdx.x % SIZE;
            k = along ? threadIdx.x % CHAIN_STEP : threadIdx.x / SIZE;
            row_step = along ? THREADS_MAX / CHAIN_STEP : 0;
            k_step = along ? 0 : THREADS_MAX / SIZE;
            step = row_step * side.row_stride + k_step * side.k_stride;
            tile_step = CHAIN_STEP * side.k_stride;
            rows_left = rows - first - row;
            k_left = inner - k;
            next = data + (first + row) * side.row_stride + k * side.k_stride;
        }

        // Reads the tile's elements, zeros outside, and goes on to the next tile.
        __device__ void read() {
#pragma unroll
            for (int load = 0; load < LOADS; ++load) {
                bool inside = load * row_step < rows_left && load * k_step < k_left;
                kept[load] = inside ? next[load * step] : 0.0f;
            }
            next += tile_step;
            k_left -= CHAIN_STEP;
        }

        __device__ void keep(float (&tile)[CHAIN_STEP][SIZE + 4]) const {
#pragma unroll
            for (int load = 0; load < LOADS; ++load)
                tile[k + load * k_step][row + load * row_step] = kept[load];
        }
    };

    static __device__ int offset(int thread, int index) {
        return index / 4 * 64 + thread * 4 + index % 4;
    }

    static __device__ void add(
        const float (&left)[SIZE + 4], const float (&right)[SIZE + 4], int ty, int tx,
        float (&sum)[WIDTH][WIDTH]
    ) {
        Four x[GROUPS], y[GROUPS];
#pragma unroll
        for (int group = 0; group < GROUPS; ++group) {
            x[group] = *(const Four*)&left[offset(ty, group * 4)];
            y[group] = *(const Four*)&right[offset(tx, group * 4)];
        }
#pragma unroll
        for (int i = 0; i < WIDTH; ++i)
#pragma unroll
            for (int j = 0; j < WIDTH; ++j)
                sum[i][j] = __fmaf_rn(x[i / 4].of[i % 4], y[j / 4].of[j % 4], sum[i][j]);
    }

    static __device__ void contract(
        i64 batches, i64 rows, i64 columns, i64 inner, const Side& a, const Side& b,
        const Epilogue& epilogue, float* out
    ) {
        alignas(16) __shared__ float left[CHAIN_STEP][SIZE + 4], right[CHAIN_STEP][SIZE + 4];
        int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
        i64 tiles = divided_up(columns, SIZE);
        i64 first_row = blockIdx.x / tiles * SIZE, first_column = blockIdx.x % tiles * SIZE;
        for (i64 batch = blockIdx.z; batch < batches; batch += gridDim.z) {
            Reader of_a(a, a.data + batch * a.batch_stride, first_row, rows, inner);
            Reader of_b(b, b.data + batch * b.batch_stride, first_column, columns, inner);
            float sum[WIDTH][WIDTH] = {};
            of_a.read();
            of_b.read();
            for (i64 k0 = 0; k0 < inner; k0 += CHAIN_STEP) {
                __syncthreads();  // the tiles before have been used
                of_a.keep(left);
                of_b.keep(right);
                __syncthreads();
                of_a.read();
                of_b.read();
                if (inner - k0 >= CHAIN_STEP) {
#pragma unroll
                    for (int k = 0; k < CHAIN_STEP; ++k) add(left[k], right[k], ty, tx, sum);
                } else {
                    for (int k = 0; k < inner - k0; ++k) add(left[k], right[k], ty, tx, sum);
                }
            }
#pragma unroll
            for (int i = 0; i < WIDTH; ++i)
#pragma unroll
                for (int j = 0; j < WIDTH; ++j) {
                    i64 row = first_row + offset(ty, i), column = first_column + offset(tx, j);
                    if (row >= rows || column >= columns) continue;
                    out[(batch * rows + row) * columns + column] =
                        epilogue((double)sum[i][j], batch, row, column);
                }
        }
    }
};

}  // namespace exact

using namespace exact;

// ---- quantisation ---------------------------------------------------------------------------------

// Finds each row's largest pattern, by atomicMax over parts of K (blockIdx.y); `largest` is zero
// before. A block takes 8 rows whose elements lie along K, or 32 rows whose neighbours lie together.
KERNEL __launch_bounds__(THREADS_MAX) exact_largest_of_rows(
    const float* x, i64 batches, i64 rows, i64 inner, i64 batch_stride, i64 row_stride, i64 k_stride,
    u32* largest
) {
    bool along = k_stride <= row_stride;
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = THREADS_MAX / WARP;
    i64 row = along ? (i64)blockIdx.x * warps + warp : (i64)blockIdx.x * WARP + lane;
    i64 first = along ? (i64)blockIdx.y * WARP + lane : (i64)blockIdx.y * warps + warp;
    i64 step = (i64)gridDim.y * (along ? WARP : warps);
    for (i64 batch = blockIdx.z; batch < batches; batch += gridDim.z) {
        const float* p = x + batch * batch_stride + row * row_stride;
        u64 mine = 0;
        if (row < rows)
            for (i64 k = first; k < inner; k += step)
                mine = Largest()(mine, bits_of(p[k * k_stride]) & 0x7fffffff);
        if (along) mine = over_warp(mine, Largest());
        if (row < rows && (!along || lane == 0))
            atomicMax((unsigned*)largest + batch * rows + row, (unsigned)mine);
    }
}

// Writes planes of int8 digits, (planes, padded rows, padded K), zeros in the padding: digits 0 ..
// count - 1, then the sums of digits i and j for all i < j. A block takes 64 rows and 64 of K.
KERNEL __launch_bounds__(THREADS_MAX) exact_digit_planes(
    const float* x, i64 rows, i64 inner, i64 row_stride, i64 k_stride, const u32* largest, i64 count,
    i64 bits, i64 padded_rows, i64 padded_inner, u32* planes
) {
    constexpr int SIDE = 64, WORDS = SIDE / 4;
    __shared__ int integers[SIDE][SIDE + 1];
    bool along = k_stride <= row_stride;
    i64 first_row = (i64)blockIdx.x * SIDE, first_k = (i64)blockIdx.y * SIDE;
    for (int at = threadIdx.x; at < SIDE * SIDE; at += THREADS_MAX) {
        int i = along ? at / SIDE : at % SIDE, j = along ? at % SIDE : at / SIDE;
        i64 row = first_row + i, k = first_k + j;
        int integer = 0;
        if (row < rows && k < inner)
            integer = Scale(largest[row], bits).integer(x[row * row_stride + k * k_stride]);
        integers[i][j] = integer;
    }
    __syncthreads();
    for (int at = threadIdx.x; at < SIDE * WORDS; at += THREADS_MAX) {
        i64 row = first_row + at / WORDS, k = first_k + at % WORDS * 4;
        if (row >= padded_rows || k >= padded_inner) continue;
        int digit[3][4] = {}, sums[4];
        for (int j = 0; j < 4; ++j) {
            int rest = integers[at / WORDS][at % WORDS * 4 + j];
            digit[0][j] = take_digit(rest);
            digit[1][j] = count == 2 ? rest : take_digit(rest);
            digit[2][j] = count == 2 ? 0 : rest;
        }
        i64 plane = padded_rows * padded_inner / 4, word = (row * padded_inner + k) / 4;
        for (int d = 0; d < count; ++d) planes[d * plane + word] = packed_digits(digit[d]);
        i64 next = count;
        for (int i = 0; i < count; ++i)
            for (int j = i + 1; j < count; ++j) {
                for (int e = 0; e < 4; ++e) sums[e] = digit[i][e] + digit[j][e];
                planes[next++ * plane + word] = packed_digits(sums);
            }
    }
}

// Adds up the int32 products of planes, (planes, padded rows, width), and finishes `columns` results
// from column first_column on; where more of K is to come (`last` is 0), keeps the totals instead.
KERNEL exact_recombine(
    const int* products, i64 plane, i64 width, i64 count, i64 rows, i64 columns, i64 first_column,
    i64 all_columns, i64* totals, i64 first, i64 last, const u32* largest_a, const u32* largest_b,
    i64 bits, const float* addend, i64 addend_row, i64 addend_column, double alpha, double beta,
    float* out
) {
    Epilogue epilogue{addend, 0, addend_row, addend_column, alpha, beta};
    for (i64 at = first_index(); at < rows * columns; at += index_step()) {
        i64 row = at / columns, column = at % columns, square[3], total = 0;
        const int* p = products + row * width + column;
#pragma unroll
        for (int d = 0; d < 3; ++d) {
            square[d] = d < count ? p[d * plane] : 0;
            total += square[d] * ((i64)1 << (14 * d));
        }
        i64 next = count;
#pragma unroll
        for (int i = 0; i < 3; ++i)
#pragma unroll
            for (int j = i + 1; j < 3; ++j)
                if (j < count)
                    total += ((i64)p[next++ * plane] - square[i] - square[j]) * ((i64)1 << (7 * (i + j)));
        i64 result = row * all_columns + first_column + column;
        if (!first) total += totals[result];
        if (!last) {
            totals[result] = total;
            continue;
        }
        double value = (double)total * Scale(largest_a[row], bits).unit;
        value = value * Scale(largest_b[first_column + column], bits).unit;
        out[result] = epilogue(value, 0, row, first_column + column);
    }
}

// Writes an operand's integers as float64, (batches, rows, K), or (batches, K, rows) where the
// elements of a row do not lie together.
KERNEL exact_integers(
    const float* x, i64 batches, i64 rows, i64 inner, i64 batch_stride, i64 row_stride, i64 k_stride,
    const u32* largest, i64 bits, double* out
) {
    bool along = k_stride <= row_stride;
    i64 count = batches * rows * inner;
    for (i64 at = first_index(); at < count; at += index_step()) {
        i64 batch = at / (rows * inner), rest = at % (rows * inner);
        i64 row = along ? rest / inner : rest % rows, k = along ? rest % inner : rest / rows;
        Scale scale(largest[batch * rows + row], bits);
        out[at] = scale.integer(x[batch * batch_stride + row * row_stride + k * k_stride]);
    }
}

// Scales integer products, float64 (batches, rows, columns); *_batch is 0 for a shared operand.
KERNEL exact_finish_product(
    const double* product, i64 batches, i64 rows, i64 columns, const u32* largest_a, i64 a_batch,
    const u32* largest_b, i64 b_batch, i64 bits, const float* addend, i64 addend_batch, i64 addend_row,
    i64 addend_column, double alpha, double beta, float* out
) {
    Epilogue epilogue{addend, addend_batch, addend_row, addend_column, alpha, beta};
    i64 count = batches * rows * columns;
    for (i64 at = first_index(); at < count; at += index_step()) {
        i64 batch = at / (rows * columns), row = at / columns % rows, column = at % columns;
        double value = product[at] * Scale(largest_a[batch * a_batch + row], bits).unit;
        value = value * Scale(largest_b[batch * b_batch + column], bits).unit;
        out[at] = epilogue(value, batch, row, column);
    }
}

#define CONTRACTION(NAME, BOUNDS, COMPUTE)                                                           \
    KERNEL BOUNDS exact_contract_##NAME(                                                             \
        i64 batches, i64 rows, i64 columns, i64 inner, const float* a, i64 a_batch, i64 a_row,       \
        i64 a_k, const u32* largest_a, i64 largest_a_batch, const float* b, i64 b_batch,             \
        i64 b_column, i64 b_k, const u32* largest_b, i64 largest_b_batch, const float* addend,       \
        i64 addend_batch, i64 addend_row, i64 addend_column, double alpha, double beta, float* out   \
    ) {                                                                                              \
        COMPUTE(                                                                                     \
            batches, rows, columns, inner,                                                           \
            Side{a, a_batch, a_row, a_k, largest_a, largest_a_batch},                                \
            Side{b, b_batch, b_column, b_k, largest_b, largest_b_batch},                             \
            Epilogue{addend, addend_batch, addend_row, addend_column, alpha, beta}, out);            \
    }

CONTRACTION(E14, __launch_bounds__(THREADS_MAX, 1), (contract_digits<2, 13>))
CONTRACTION(E21, __launch_bounds__(THREADS_MAX), (contract_digits<3, 20>))
CONTRACTION(FMA_64, __launch_bounds__(THREADS_MAX), Chain<64>::contract)
CONTRACTION(FMA_128, __launch_bounds__(THREADS_MAX), Chain<128>::contract)
