/* A program that is linked with the driver: built against the stub, it starts where a machine brings the driver only. */
#include <stdio.h>

int cuInit(unsigned flags);
int cuDeviceGetCount(int *count);

int main(void) {
    int count = 0, status = cuInit(0);
    if (status == 0)
        status = cuDeviceGetCount(&count);
    printf("driver: status %d, %d devices\n", status, count);
    return status != 0;
}
