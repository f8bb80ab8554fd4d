/* A libnvidia-ml.so.1 with two cards: an H100, and an A100 in MIG mode with two instances.
 * What it answers is what tests/fakes/gpus.py says of them. FAKE_NVML_INIT makes it fail to start.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct card {
    const char *uuid, *name, *bus;
    unsigned minor, generation, limit_mw, mode, mig, gi, ci, parent;
    unsigned long long total, reserved, used;
} card;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } process;
typedef struct {
    char legacy[16]; unsigned domain, bus, device, id, subsystem; char text[32];
} pci;
typedef struct { unsigned gpu, memory; } rates;

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT = 7 };
enum { H100, A100, MIG1, MIG2, CARDS };
#define MIB (1ull << 20)
#define NONE 0xFFFFFFFFu

static card cards[CARDS] = {
    {"GPU-11111111-2222-3333-4444-555555555555", "NVIDIA H100 80GB HBM3", "00000000:1B:00.0",
     0, 5, 700000, 3, 0, NONE, NONE, NONE, 81559 * MIB, 551 * MIB, 4 * MIB},
    {"GPU-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "NVIDIA A100-SXM4-40GB", "00000000:65:00.0",
     1, 4, 400000, 0, 1, NONE, NONE, NONE, 40960 * MIB, 571 * MIB, 4 * MIB},
    {"MIG-00000000-0000-0000-0000-000000000001", "NVIDIA A100-SXM4-40GB MIG 3g.20gb", "",
     0, 0, 0, 0, 0, 1, 0, A100, 20096 * MIB, 59 * MIB, 4 * MIB},
    {"MIG-00000000-0000-0000-0000-000000000002", "NVIDIA A100-SXM4-40GB MIG 3g.20gb", "",
     0, 0, 0, 0, 0, 2, 0, A100, 20096 * MIB, 59 * MIB, 4 * MIB},
};
static int is_part(const card *c) { return c->parent != NONE; }
static int text(char *to, unsigned size, const char *from) {
    snprintf(to, size, "%s", from);
    return OK;
}

int nvmlInitWithFlags(unsigned flags) {
    const char *wanted = getenv("FAKE_NVML_INIT");
    (void)flags;
    return wanted ? atoi(wanted) : OK;
}
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "a made-up failure"; }
int nvmlSystemGetDriverVersion(char *to, unsigned size) { return text(to, size, "580.159.03"); }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return OK; }
/* the wrong way round, as NVML gives no order */
int nvmlDeviceGetHandleByIndex_v2(unsigned i, card **c) { *c = &cards[1 - i]; return OK; }
int nvmlDeviceGetHandleByUUID(const char *uuid, card **c) {
    for (int i = 0; i < CARDS; i++)
        if (!strcmp(cards[i].uuid, uuid)) { *c = &cards[i]; return OK; }
    return NOT_FOUND;
}
int nvmlDeviceGetUUID(card *c, char *to, unsigned size) { return text(to, size, c->uuid); }
int nvmlDeviceGetName(card *c, char *to, unsigned size) { return text(to, size, c->name); }
int nvmlDeviceGetMemoryInfo_v2(card *c, memory_v2 *m) {
    if (m->version != 0x02000028) return 25;
    m->total = c->total; m->reserved = c->reserved; m->used = c->used;
    m->free = c->total - c->reserved - c->used;
    return OK;
}
int nvmlDeviceGetPciInfo_v3(card *c, pci *p) { return text(p->text, sizeof p->text, c->bus); }
int nvmlDeviceGetMinorNumber(card *c, unsigned *n) { *n = c->minor; return OK; }
int nvmlDeviceGetEccMode(card *c, unsigned *now, unsigned *later) {
    (void)c; *now = *later = 1; return OK;
}
int nvmlDeviceGetMigMode(card *c, unsigned *now, unsigned *later) {
    if (c == &cards[H100]) return NOT_SUPPORTED;
    *now = *later = c->mig;
    return OK;
}
int nvmlDeviceGetCurrPcieLinkGeneration(card *c, unsigned *n) { *n = c->generation; return OK; }
int nvmlDeviceGetCurrPcieLinkWidth(card *c, unsigned *n) { (void)c; *n = 16; return OK; }
int nvmlDeviceGetEnforcedPowerLimit(card *c, unsigned *n) { *n = c->limit_mw; return OK; }
int nvmlDeviceGetComputeMode(card *c, unsigned *n) { *n = c->mode; return OK; }
int nvmlDeviceGetDisplayActive(card *c, unsigned *n) { (void)c; (void)n; return NOT_SUPPORTED; }
int nvmlDeviceGetMaxMigDeviceCount(card *c, unsigned *n) { (void)c; *n = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(card *c, unsigned i, card **part) {
    (void)c;
    if (i != 1 && i != 4) return NOT_FOUND; /* holes in the numbering */
    *part = &cards[i == 1 ? MIG1 : MIG2];
    return OK;
}
int nvmlDeviceGetGpuInstanceId(card *c, unsigned *n) { *n = c->gi; return OK; }
int nvmlDeviceGetComputeInstanceId(card *c, unsigned *n) { *n = c->ci; return OK; }
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(card *c, card **whole) {
    if (!is_part(c)) return INVALID;
    *whole = &cards[c->parent];
    return OK;
}
int nvmlDeviceGetTemperature(card *c, unsigned sensor, unsigned *n) {
    if (is_part(c) || sensor) return INVALID;
    *n = 35;
    return OK;
}
int nvmlDeviceGetPowerUsage(card *c, unsigned *n) {
    if (is_part(c)) return NOT_SUPPORTED;
    *n = 70000;
    return OK;
}
int nvmlDeviceGetUtilizationRates(card *c, rates *r) {
    if (is_part(c) || c->mig) return NOT_SUPPORTED;
    r->gpu = r->memory = 0;
    return OK;
}
static int busy(card *c) { return getenv("FAKE_NVML_BUSY") && !strcmp(getenv("FAKE_NVML_BUSY"), c->uuid); }
int nvmlDeviceGetComputeRunningProcesses_v3(card *c, unsigned *count, process *list) {
    if (!busy(c)) { *count = 0; return OK; }
    if (*count < 1) { *count = 1; return INSUFFICIENT; }
    list[0] = (process){4242, 900 * MIB, c->gi, c->ci};
    *count = 1;
    return OK;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(card *c, unsigned *count, process *list) {
    (void)c; (void)list; *count = 0; return OK;
}
