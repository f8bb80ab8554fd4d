// Random words from a key.
#include "device.hpp"
#include "philox.hpp"

namespace exact {

// A thread draws blocks of 4 words.
template <class T, class Convert>
EXACT_INLINE void draw(u64 key, i64 count, T* out, Convert convert) {
    for (i64 block = first_index(); 4 * block < count; block += index_step()) {
        PhiloxBlock drawn = philox_block(block, key);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (4 * block + i < count) out[4 * block + i] = convert(drawn.words[i]);
    }
}

}  // namespace exact

using namespace exact;

KERNEL exact_philox_words(u64 key, i64 count, i64* out) {
    draw(key, count, out, [](u32 word) { return (i64)word; });
}

KERNEL exact_philox_uniform(u64 key, i64 count, float* out) {
    draw(key, count, out, [](u32 word) { return uniform_of(word); });
}
