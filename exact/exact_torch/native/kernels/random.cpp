// Philox4x32-10 (arithmetic/philox.py): word i of a draw is word i mod 4 of block i/4.
#include "arithmetic.hpp"

using namespace exact;

namespace {

constexpr i64 PARALLEL_BLOCKS = 1 << 11;

struct Block {
    u32 words[4];
};

inline Block block_of(i64 index, u64 key) {
    u32 c[4] = {(u32)index, (u32)((u64)index >> 32), 0, 0}, k0 = (u32)key, k1 = (u32)(key >> 32);
    for (int round = 0; round < 10; ++round) {
        u64 p = (u64)0xd2511f53 * c[0], q = (u64)0xcd9e8d57 * c[2];
        u32 next[4] = {(u32)(q >> 32) ^ c[1] ^ k0, (u32)q, (u32)(p >> 32) ^ c[3] ^ k1, (u32)p};
        memcpy(c, next, sizeof c);
        k0 += 0x9e3779b9;
        k1 += 0xbb67ae85;
    }
    return {{c[0], c[1], c[2], c[3]}};
}

template <class T, class Convert>
void draw(u64 key, i64 count, T* out, Convert convert) {
    i64 blocks = (count + 3) / 4;
#pragma omp parallel for schedule(static) if (blocks > PARALLEL_BLOCKS)
    for (i64 b = 0; b < blocks; ++b) {
        Block drawn = block_of(b, key);
        i64 wanted = count - 4 * b < 4 ? count - 4 * b : 4;
        for (i64 i = 0; i < wanted; ++i) out[4 * b + i] = convert(drawn.words[i]);
    }
}

}  // namespace

extern "C" void exact_philox_words(uint64_t key, int64_t count, int64_t* out) {
    draw(key, count, out, [](u32 word) { return (i64)word; });
}

extern "C" void exact_philox_uniform(uint64_t key, int64_t count, float* out) {
    draw(key, count, out, [](u32 word) { return (float)(word >> 8) * 0x1p-24f; });
}
