/* A librocm_smi64.so with one MI300X, which has no edge sensor. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct { uint32_t pid, pasid; uint64_t vram, sdma; uint32_t occupancy; } process;
enum { OK = 0, INVALID = 1, NOT_SUPPORTED = 2 };
#define MIB (1ull << 20)

int rsmi_init(uint64_t flags) { return flags ? INVALID : getenv("FAKE_ROCM_NONE") ? 8 : OK; }
int rsmi_shut_down(void) { return OK; }
int rsmi_num_monitor_devices(uint32_t *n) { *n = 1; return OK; }
int rsmi_version_str_get(int component, char *to, uint32_t size) {
    snprintf(to, size, "6.12.12");
    return component;
}
int rsmi_dev_unique_id_get(uint32_t i, uint64_t *id) { *id = 0x00c0ffee00c0ffee; return i; }
int rsmi_dev_pci_id_get(uint32_t i, uint64_t *id) { *id = 0xc1 << 8; return i; }
int rsmi_dev_name_get(uint32_t i, char *to, size_t size) {
    snprintf(to, size, "AMD Instinct MI300X");
    return i;
}
int rsmi_dev_memory_total_get(uint32_t i, int kind, uint64_t *n) {
    *n = 196592 * MIB;
    return i || kind ? INVALID : OK;
}
int rsmi_dev_memory_usage_get(uint32_t i, int kind, uint64_t *n) {
    *n = 4 * MIB;
    return i || kind ? INVALID : OK;
}
int rsmi_dev_busy_percent_get(uint32_t i, uint32_t *n) { *n = 0; return i; }
int rsmi_dev_power_cap_get(uint32_t i, uint32_t sensor, uint64_t *n) {
    *n = 750000000;
    return i || sensor;
}
int rsmi_dev_power_ave_get(uint32_t i, uint32_t sensor, uint64_t *n) {
    *n = 70000000;
    return i || sensor;
}
int rsmi_dev_temp_metric_get(uint32_t i, uint32_t sensor, int metric, int64_t *n) {
    *n = 35200;
    return i || metric || sensor != 1 ? NOT_SUPPORTED : OK;
}
int rsmi_compute_process_info_get(process *list, uint32_t *n) {
    list[0] = (process){4242, 1, 900 * MIB, 0, 0};
    *n = getenv("FAKE_ROCM_BUSY") ? 1 : 0;
    return OK;
}
int rsmi_compute_process_gpus_get(uint32_t pid, uint32_t *list, uint32_t *n) {
    list[0] = 0;
    *n = pid == 4242;
    return OK;
}
