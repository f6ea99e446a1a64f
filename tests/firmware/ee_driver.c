/* Runs kernels that come in on stdin; sizes are exact, so that sanitizers see what is read or written beside. */

#include <stdio.h>
#include <stdlib.h>

#include "ee_kernels.h"

enum { WINDOW_FIELDS = 22, SUM_FIELDS = 14, POOL_FIELDS = 6 };

static void *received(size_t size) {
    void *bytes = malloc(size > 0 ? size : 1);
    if (bytes == NULL || fread(bytes, 1, size, stdin) != size) {
        exit(2);
    }
    return bytes;
}

static void run_window(const int32_t *head, int8_t *arena) {
    int32_t *f = received(4 * WINDOW_FIELDS);
    int8_t *weights = received((size_t)head[6]);
    ee_exact *exact = received(sizeof(ee_exact) * (size_t)f[20]);
    uint32_t *scratch = malloc((size_t)head[5]);
    const ee_window layer = {
        weights, exact, f[0],
        (uint16_t)f[1], (uint16_t)f[2], (uint16_t)f[3], (uint16_t)f[4], (uint16_t)f[5], (uint16_t)f[6],
        (uint8_t)f[7], (uint8_t)f[8], (uint8_t)f[9], (uint8_t)f[10], (uint8_t)f[11], (uint8_t)f[12],
        (int8_t)f[13], (int8_t)f[14], (int8_t)f[15], (int8_t)f[16], (uint8_t)f[17], (uint8_t)f[18],
        (uint8_t)f[19], (uint16_t)f[20], (uint16_t)f[21],
    };
    void (*const kernels[])(const ee_window *, const int8_t *, int8_t *, uint32_t *) = {
        ee_convolution, ee_pointwise, ee_depthwise, ee_convolution4, ee_pointwise4, ee_depthwise4};
    kernels[head[0]](&layer, arena + head[2], arena + head[4], scratch);
    free(f), free(weights), free(exact), free(scratch);
}

static void run_sum(const int32_t *head, int8_t *arena) {
    int32_t *f = received(4 * SUM_FIELDS);
    const ee_sum layer = {
        (uint32_t)f[0], (uint32_t)f[1], f[2],           f[3],           f[4],
        (uint8_t)f[5],  (uint8_t)f[6],  (int8_t)f[7],   (int8_t)f[8],   (int8_t)f[9],
        (int8_t)f[10],  (int8_t)f[11],  (uint8_t)f[12], (uint32_t)f[13],
    };
    ee_add(&layer, arena + head[2], arena + head[3], arena + head[4]);
    free(f);
}

static void run_pool(const int32_t *head, int8_t *arena) {
    int32_t *f = received(4 * POOL_FIELDS);
    const ee_pool layer = {(uint32_t)f[0], (int8_t)f[1],   (int8_t)f[2],
                           (int8_t)f[3],   (uint16_t)f[4], (uint16_t)f[5]};
    ee_mean(&layer, arena + head[2], arena + head[4]);
    free(f);
}

int main(void) {
    /* kernel, bytes of the arena, offsets of both inputs and the output, bytes of scratch memory and weights */
    int32_t head[7];
    while (fread(head, sizeof head, 1, stdin) == 1) {
        int8_t *arena = received((size_t)head[1]);
        if (head[0] <= 5) {
            run_window(head, arena);
        } else if (head[0] == 6) {
            run_sum(head, arena);
        } else {
            run_pool(head, arena);
        }
        fwrite(arena, 1, (size_t)head[1], stdout);
        fflush(stdout);
        free(arena);
    }
    return 0;
}
