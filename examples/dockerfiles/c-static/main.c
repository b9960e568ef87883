/* Estimate pi by throwing darts: a program that needs nothing but a kernel. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t state = 88172645463325252ULL;

static double uniform(void) { /* xorshift64, Marsaglia 2003 */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) / 9007199254740992.0;
}

int main(int argc, char **argv) {
    long darts = argc > 1 ? strtol(argv[1], NULL, 10) : 1000000, inside = 0;
    if (darts <= 0) {
        fprintf(stderr, "usage: %s [DARTS]\n", argv[0]);
        return 2;
    }
    for (long i = 0; i < darts; i++) {
        double x = uniform(), y = uniform();
        inside += x * x + y * y < 1.0;
    }
    printf("pi is about %.3f after %ld darts\n", 4.0 * (double)inside / (double)darts, darts);
    return 0;
}
