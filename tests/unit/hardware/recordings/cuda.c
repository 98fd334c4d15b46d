/* The functions of the CUDA driver that we call, with the signatures of its reference; a GPU whose memory is the host's.
   Compiled by test_measuring.py. Every handle is checked, so that a call with a wrong argument fails as it would there. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int CUresult, CUdevice;
typedef unsigned long long CUdeviceptr;
typedef void *CUcontext;
enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_CONTEXT = 201 };

static int is_ready = 0, retained = 0, allocated = 0;
static CUcontext current = NULL;
static int the_context;

CUresult cuGetErrorName(CUresult status, const char **text) { *text = status == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE" : "CUDA_ERROR_UNKNOWN"; return SUCCESS; }
#ifdef BROKEN
CUresult cuInit(unsigned int flags) { return NO_DEVICE; }
#else
CUresult cuInit(unsigned int flags) { is_ready = flags == 0; return is_ready ? SUCCESS : INVALID_VALUE; }
#endif
CUresult cuDeviceGetCount(int *count) { if (!is_ready) return NOT_INITIALIZED; *count = 1; return SUCCESS; }
CUresult cuDeviceGet(CUdevice *device, int ordinal) { if (ordinal != 0) return INVALID_VALUE; *device = 7; return SUCCESS; }
CUresult cuDeviceGetName(char *text, int length, CUdevice device) { if (device != 7) return INVALID_VALUE; snprintf(text, length, "NVIDIA Test GPU"); return SUCCESS; }
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) { if (device != 7) return INVALID_VALUE; *context = &the_context; retained++; return SUCCESS; }
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) { if (device != 7 || allocated) return INVALID_VALUE; retained--; current = NULL; return SUCCESS; }
CUresult cuCtxSetCurrent(CUcontext context) { if (context != &the_context) return INVALID_CONTEXT; current = context; return SUCCESS; }
CUresult cuCtxSynchronize(void) { return current ? SUCCESS : INVALID_CONTEXT; }

static CUresult take(CUdeviceptr *address, size_t size) {
    if (!current) return INVALID_CONTEXT;
    void *memory = malloc(size);
    if (!memory) return OUT_OF_MEMORY;
    memset(memory, 1, size);
    *address = (CUdeviceptr)(size_t)memory;
    allocated++;
    return SUCCESS;
}
CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t size) { return take(address, size); }
CUresult cuMemAllocHost_v2(void **address, size_t size) { return take((CUdeviceptr *)address, size); }
CUresult cuMemFree_v2(CUdeviceptr address) { free((void *)(size_t)address); allocated--; return SUCCESS; }
CUresult cuMemFreeHost(void *address) { free(address); allocated--; return SUCCESS; }
CUresult cuMemcpyHtoD_v2(CUdeviceptr target, const void *source, size_t size) { memcpy((void *)(size_t)target, source, size); return SUCCESS; }
CUresult cuMemcpyDtoH_v2(void *target, CUdeviceptr source, size_t size) { memcpy(target, (void *)(size_t)source, size); return SUCCESS; }
CUresult cuMemcpyDtoD_v2(CUdeviceptr target, CUdeviceptr source, size_t size) { memcpy((void *)(size_t)target, (void *)(size_t)source, size); return SUCCESS; }

int retained_contexts(void) { return retained; }
