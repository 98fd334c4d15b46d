/* The functions of NVML that we call, with the signatures of its reference and two GPUs behind them: an A100 with a
   process on it, and one divided into parts whose power nobody may read. Compiled by test_nvml.py. */

#include <stdio.h>
#include <string.h>

typedef struct { int number; } device;
typedef device *nvmlDevice_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned int pid; unsigned long long usedGpuMemory; unsigned int gpuInstanceId, computeInstanceId; } nvmlProcessInfo_t;
typedef int nvmlReturn_t;

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9 };

static device devices[2] = {{0}, {1}};
static device part = {2};
static int is_open = 0;

#ifdef BROKEN
nvmlReturn_t nvmlInit_v2(void) { return DRIVER_NOT_LOADED; }
#else
nvmlReturn_t nvmlInit_v2(void) { is_open = 1; return SUCCESS; }
#endif
nvmlReturn_t nvmlShutdown(void) { is_open = 0; return SUCCESS; }
const char *nvmlErrorString(nvmlReturn_t status) { return status == DRIVER_NOT_LOADED ? "Driver Not Loaded" : "Unknown Error"; }
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) { *count = is_open ? 2 : 0; return SUCCESS; }
nvmlReturn_t nvmlSystemGetDriverVersion(char *text, unsigned int length) { snprintf(text, length, "550.54.15"); return SUCCESS; }
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12040; return SUCCESS; }

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *handle) { *handle = &devices[index]; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t handle, char *text, unsigned int length) { snprintf(text, length, "NVIDIA A100-SXM4-80GB"); return SUCCESS; }
nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t handle, char *text, unsigned int length) { snprintf(text, length, "GPU-%d", handle->number); return SUCCESS; }
nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t handle, nvmlMemory_t *memory) {
    unsigned long long gib = 1ULL << 30;
    memory->total = handle == &part ? 40 * gib : 80 * gib;
    memory->used = 10 * gib;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t handle, int *major, int *minor) { *major = 8; *minor = 0; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t handle, int *current, int *pending) { *current = 1; *pending = 1; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t handle, unsigned long long *reasons) { *reasons = handle->number ? 0x1 : 0x24; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t handle, unsigned int *milliwatts) { *milliwatts = 400000; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t handle, unsigned int *milliwatts) {
    if (handle->number) return NO_PERMISSION;
    *milliwatts = 61520;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t handle, unsigned long long *millijoules) {
    if (handle->number) return NOT_SUPPORTED;
    *millijoules = 5000000000500ULL;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t handle, unsigned int sensor, unsigned int *celsius) { *celsius = sensor == 0 ? 33 : 99; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t handle, unsigned int *current, unsigned int *pending) { *current = *pending = handle->number; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t handle, unsigned int *count) { *count = 7; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t handle, unsigned int index, nvmlDevice_t *found) {
    if (index) return NOT_FOUND;
    *found = &part;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t handle, unsigned int type, unsigned int *megahertz) { *megahertz = type == 2 ? 1593 : 1410; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetMemoryBusWidth(nvmlDevice_t handle, unsigned int *bits) {
    if (handle->number) return NOT_SUPPORTED;
    *bits = 5120;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMaxPcieLinkWidth(nvmlDevice_t handle, unsigned int *width) { *width = 16; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t handle, unsigned int *count, nvmlProcessInfo_t *infos) {
    if (handle->number) { *count = 0; return SUCCESS; }
    if (*count < 2) { *count = 2; return INSUFFICIENT_SIZE; }
    *count = 2;
    infos[0] = (nvmlProcessInfo_t){4711, 9ULL << 30, 0, 0};
    infos[1] = (nvmlProcessInfo_t){4712, ~0ULL, 0, 0};
    return SUCCESS;
}

#ifdef HEALTH
/* The first GPU sleeps when nobody uses it and has had errors; the second counts none and may not say it of its rows. */
nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t handle, int *mode) { *mode = handle->number; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t handle, int type, int counter, unsigned long long *count) {
    if (handle->number) return NOT_SUPPORTED;
    *count = type == 1 && counter == 0 ? 3 : 500;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t handle, unsigned int *corrected, unsigned int *uncorrected, unsigned int *pending, unsigned int *failed) {
    *corrected = 9; *uncorrected = 8; *pending = 1; *failed = 0;
    return handle->number ? NOT_SUPPORTED : SUCCESS;
}
#endif
