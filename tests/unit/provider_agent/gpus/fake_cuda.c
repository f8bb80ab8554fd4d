/* A libcuda.so.1 with one device of 64 MiB of ordinary memory, the one CUDA_VISIBLE_DEVICES names.
 * FAKE_CUDA chooses what is wrong with it; it comes with the name of the library, for the process
 * that loads it has an environment of its own.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef FAKE_CUDA
#define FAKE_CUDA ""
#endif
#define ROOM (64u << 20)

static unsigned used;
static int is(const char *fault) { return !strcmp(FAKE_CUDA, fault); }
static int hex(char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

int cuInit(unsigned flags) {
    if (is("crash")) abort();
    if (is("hang")) pause();
    return flags || is("no-device") ? 100 : 0;
}
int cuGetErrorName(int code, const char **name) {
    *name = code == 100 ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_UNKNOWN";
    return 0;
}
int cuDeviceGetCount(int *n) { *n = is("two") ? 2 : 1; return 0; }
int cuDeviceGetUuid_v2(unsigned char *to, int device) {
    const char *from = getenv("CUDA_VISIBLE_DEVICES");
    from = is("other") ? "GPU-00000000-0000-0000-0000-000000000000" : from;
    int digits = 0;
    for (from = strchr(from, '-'); *from; from++)
        if (*from != '-') {
            to[digits / 2] = (unsigned char)(digits % 2 ? to[digits / 2] | hex(*from) : hex(*from) << 4);
            digits++;
        }
    return digits == 32 ? device : 1;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = &used; return device; }
int cuDevicePrimaryCtxRelease_v2(int device) { return device; }
int cuCtxSetCurrent(void *context) { return context != &used; }
int cuCtxSynchronize(void) { return 0; }
int cuMemAlloc_v2(uint64_t *address, size_t size) {
    if (used + size > (is("held") ? ROOM / 2 : ROOM)) return 2;
    used += (unsigned)size;
    *address = (uint64_t)(uintptr_t)malloc(size);
    return *address ? 0 : 2;
}
int cuMemsetD32_v2(uint64_t address, unsigned word, size_t count) {
    uint32_t *memory = (uint32_t *)(uintptr_t)address;
    for (size_t i = 0; i < count; i++) memory[i] = word;
    if (is("forgetful")) memset(memory, 7, count * 4);
    return 0;
}
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) {
    memcpy(to, (void *)(uintptr_t)from, size);
    return 0;
}
int cuMemFree_v2(uint64_t address) { free((void *)(uintptr_t)address); return 0; }
