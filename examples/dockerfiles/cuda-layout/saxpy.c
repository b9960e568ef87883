/* y = a * x + y. The driver, libcuda.so.1, belongs to the machine: it is looked for when the library is first used, so that
 * the same image runs with a GPU (a runtime that injects the driver) and without one. */
#include <dlfcn.h>
#include <stddef.h>

static int devices = -1;

int device_count(void) {
    if (devices >= 0)
        return devices;
    devices = 0;
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (driver == NULL)
        return devices;
    int (*init)(unsigned) = (int (*)(unsigned))dlsym(driver, "cuInit");
    int (*count)(int *) = (int (*)(int *))dlsym(driver, "cuDeviceGetCount");
    int found = 0;
    if (init != NULL && count != NULL && init(0) == 0 && count(&found) == 0)
        devices = found;
    return devices;
}

void saxpy(size_t n, float a, const float *x, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}
