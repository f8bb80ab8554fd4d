// What CUDA gives a kernel, for C++ compilers: blocks run one after another, and the threads of a
// block are fibers that take turns at barriers and shuffles, in one of three orders. A missing
// barrier shows as a wrong result in some order; one that not every thread reaches is reported.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#define __global__ __attribute__((used))
#define __device__
#define __shared__ static
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
};

namespace emulated {

constexpr int LANES = 32;
constexpr size_t STACK_BYTES = 1 << 16;
enum Turns { FORWARDS, BACKWARDS, WARP_BY_WARP };
enum Outcome { DONE, UNKNOWN_KERNEL, WRONG_ARGUMENTS, BARRIER_NOT_REACHED };

struct Barrier {
    unsigned arrived = 0, generation = 0;
};

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[STACK_BYTES]};
    bool done = false;
};

inline dim3 thread, block, threads_of_block, blocks_of_grid;
inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline Barrier of_block;
inline std::vector<Barrier> of_warp;
inline std::vector<unsigned long long> exchanged;
inline unsigned long long progress;

// Lets the others run; thread is this fiber's again afterwards.
inline void yield() {
    unsigned me = thread.x;
    swapcontext(&fibers[me].context, &scheduler);
}

inline void wait(Barrier& barrier, unsigned size) {
    unsigned generation = barrier.generation;
    ++progress;
    if (++barrier.arrived == size) {
        barrier.arrived = 0;
        ++barrier.generation;
        return;
    }
    while (barrier.generation == generation) yield();
}

inline unsigned long long exchange(unsigned long long value, int distance) {
    unsigned me = thread.x;
    exchanged[me] = value;
    wait(of_warp[me / LANES], LANES);
    unsigned long long theirs = exchanged[me ^ (unsigned)distance];
    wait(of_warp[me / LANES], LANES);
    return theirs;
}

inline void (*body)(void*);
inline void* body_arguments;

inline void run_fiber() {
    body(body_arguments);
    fibers[thread.x].done = true;
    ++progress;
    swapcontext(&fibers[thread.x].context, &scheduler);
}

// Lets threads [first, last) run until their next barrier each; returns how many are not done.
inline unsigned take_turns(unsigned first, unsigned last, bool backwards) {
    unsigned left = 0;
    for (unsigned turn = first; turn < last; ++turn) {
        unsigned number = backwards ? last - 1 - (turn - first) : turn;
        if (fibers[number].done) continue;
        thread = {number, 0, 0};
        swapcontext(&scheduler, &fibers[number].context);
        left += !fibers[number].done;
    }
    return left;
}

// One warp after the other runs for as long as it can, ahead of all others.
inline unsigned take_turns_by_warps(unsigned count) {
    unsigned left = 0;
    for (unsigned first = 0; first < count; first += LANES) {
        unsigned long long before;
        unsigned of_this;
        do {
            before = progress;
            of_this = take_turns(first, first + LANES, false);
        } while (of_this && progress != before);
        left += of_this;
    }
    return left;
}

inline Outcome run_block(Turns turns) {
    unsigned count = threads_of_block.x;
    of_block = {};
    of_warp.assign(count / LANES, {});
    exchanged.assign(count, 0);
    for (Fiber& fiber : fibers) {
        getcontext(&fiber.context);
        fiber.context.uc_stack = {fiber.stack.get(), 0, STACK_BYTES};
        fiber.context.uc_link = nullptr;
        fiber.done = false;
        makecontext(&fiber.context, run_fiber, 0);
    }
    for (unsigned left = count; left;) {
        unsigned long long before = progress;
        left = turns == WARP_BY_WARP ? take_turns_by_warps(count)
                                     : take_turns(0, count, turns == BACKWARDS);
        if (left && progress == before) return BARRIER_NOT_REACHED;
    }
    return DONE;
}

template <class T>
constexpr char code() {
    static_assert(sizeof(T) == 8, "kernels take pointers, int64 and float64");
    return std::is_pointer_v<T> ? 'p' : (std::is_floating_point_v<T> ? 'd' : 'i');
}

template <class... T, size_t... I>
Outcome run(
    void (*kernel)(T...), dim3 blocks, unsigned threads, const char* codes, void** arguments,
    Turns turns, std::index_sequence<I...>
) {
    const char expected[] = {code<T>()..., 0};
    if (strcmp(codes, expected)) return WRONG_ARGUMENTS;
    auto call = [&] { kernel(*(T*)arguments[I]...); };
    body = [](void* it) { (*(decltype(call)*)it)(); };
    body_arguments = &call;
    blocks_of_grid = blocks;
    threads_of_block = {threads, 1, 1};
    if (fibers.size() != threads) fibers = std::vector<Fiber>(threads);
    for (block.z = 0; block.z < blocks.z; ++block.z)
        for (block.y = 0; block.y < blocks.y; ++block.y)
            for (block.x = 0; block.x < blocks.x; ++block.x)
                if (Outcome outcome = run_block(turns)) return outcome;
    return DONE;
}

template <class... T>
Outcome launch(
    void (*kernel)(T...), dim3 blocks, unsigned threads, const char* codes, void** arguments,
    Turns turns
) {
    return run(
        kernel, blocks, threads, codes, arguments, turns, std::index_sequence_for<T...>());
}

}  // namespace emulated

#define threadIdx emulated::thread
#define blockIdx emulated::block
#define blockDim emulated::threads_of_block
#define gridDim emulated::blocks_of_grid

inline void __syncthreads() { emulated::wait(emulated::of_block, blockDim.x); }

inline unsigned long long __shfl_xor_sync(unsigned, unsigned long long value, int distance) {
    return emulated::exchange(value, distance);
}

template <class T>
T atomicMax(T* at, T value) {
    T before = *at;
    if (value > before) *at = value;
    return before;
}
template <class T>
T atomicAdd(T* at, T value) {
    T before = *at;
    *at += value;
    return before;
}
template <class T>
T atomicOr(T* at, T value) {
    T before = *at;
    *at |= value;
    return before;
}

inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }

inline int __dp4a(int a, int b, int sum) {
    for (int i = 0; i < 4; ++i) sum += (int8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
    return sum;
}
