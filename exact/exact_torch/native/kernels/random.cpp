// Random words from a key.
#include "philox.hpp"

using namespace exact;

namespace {

constexpr i64 PARALLEL_BLOCKS = 1 << 11;

template <class T, class Convert>
void draw(u64 key, i64 count, T* out, Convert convert) {
    i64 blocks = (count + 3) / 4;
#pragma omp parallel for schedule(static) if (blocks > PARALLEL_BLOCKS)
    for (i64 b = 0; b < blocks; ++b) {
        PhiloxBlock drawn = philox_block(b, key);
        i64 wanted = count - 4 * b < 4 ? count - 4 * b : 4;
        for (i64 i = 0; i < wanted; ++i) out[4 * b + i] = convert(drawn.words[i]);
    }
}

}  // namespace

extern "C" void exact_philox_words(uint64_t key, int64_t count, int64_t* out) {
    draw(key, count, out, [](u32 word) { return (i64)word; });
}

extern "C" void exact_philox_uniform(uint64_t key, int64_t count, float* out) {
    draw(key, count, out, uniform_of);
}
