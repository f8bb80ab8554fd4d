// Philox4x32-10 (arithmetic/philox.py), for CPUs and GPUs: word i of a draw is word i mod 4 of block i/4.
#pragma once

#include "arithmetic.hpp"

namespace exact {

struct PhiloxBlock {
    u32 words[4];
};

EXACT_INLINE PhiloxBlock philox_block(i64 index, u64 key) {
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

EXACT_INLINE float uniform_of(u32 word) { return (float)(word >> 8) * 0x1p-24f; }

}  // namespace exact
