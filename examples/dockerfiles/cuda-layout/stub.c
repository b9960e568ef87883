/* What a linker needs of the driver, as the CUDA toolkit has it in lib64/stubs: never loaded, and without a device if it is. */
int cuInit(unsigned flags) {
    (void)flags;
    return 34; /* CUDA_ERROR_STUB_LIBRARY */
}

int cuDeviceGetCount(int *count) {
    *count = 0;
    return 34;
}
