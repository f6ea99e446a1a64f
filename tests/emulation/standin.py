"""A library with the interface of ee.h that is no network: three segments of sums, for tests of what runs firmware."""

import numpy as np

IMAGE_SHAPE = (4, 4, 3)
FEATURES = [16, 8]
THRESHOLDS = [40, 20]
PATIENCE = 0

HEADER = """
#ifndef EE_H
#define EE_H
#include <stdint.h>
#define EE_IMAGE_BYTES 48
#define EE_SEGMENTS 3
#define EE_EXITS 2
#define EE_CLASSES 2
#define EE_ARENA_BYTES 48
typedef struct { uint8_t label; uint8_t exit; int16_t margin; } ee_result;
enum { EE_OK = 0, EE_ERROR_NULL = -1, EE_ERROR_RANGE = -2, EE_ERROR_STATE = -3 };
int ee_init(void);
int8_t *ee_input(void);
int ee_run(const int8_t *image, ee_result *result);
int ee_run_segment(unsigned segment, const int8_t *input, int8_t logits[2]);
const int8_t *ee_features(unsigned segment);
int ee_set_threshold(unsigned exit, int margin);
int ee_get_threshold(unsigned exit);
int ee_set_patience(int classifiers);
int ee_get_patience(void);
#endif
"""

SOURCE = """
#include <stddef.h>
#include <string.h>
#include "ee.h"
#include "sum.h"
static int8_t arena[EE_ARENA_BYTES];
static int thresholds[EE_EXITS];
static int patience;
static const uint8_t sizes[EE_SEGMENTS + 1] = {48, 16, 8, 2};

int ee_init(void) { thresholds[0] = 40; thresholds[1] = 20; patience = 0; return EE_OK; }
int8_t *ee_input(void) { return arena; }
const int8_t *ee_features(unsigned segment) { return segment < EE_EXITS ? arena : NULL; }
int ee_get_threshold(unsigned exit) { return exit < EE_EXITS ? thresholds[exit] : EE_ERROR_RANGE; }
int ee_get_patience(void) { return patience; }
int ee_set_patience(int classifiers) { patience = classifiers; return EE_OK; }
int ee_set_threshold(unsigned exit, int margin)
{
    if (exit >= EE_EXITS) { return EE_ERROR_RANGE; }
    thresholds[exit] = margin;
    return EE_OK;
}

int ee_run_segment(unsigned segment, const int8_t *input, int8_t logits[2])
{
    if (segment >= EE_SEGMENTS) { return EE_ERROR_RANGE; }
    if (input != NULL && input != arena) { memmove(arena, input, sizes[segment]); }
    ee_sum(arena, sizes[segment], sizes[segment + 1]);
    memcpy(logits, arena, 2);
    return EE_OK;
}

int ee_run(const int8_t *image, ee_result *result)
{
    unsigned segment;
    int agreeing = 0;
    for (segment = 0; segment < EE_SEGMENTS; segment++) {
        int8_t logits[2];
        int margin;
        int status = ee_run_segment(segment, segment == 0 ? image : NULL, logits);
        if (status != EE_OK) { return status; }
        margin = logits[1] - logits[0];
        agreeing = segment > 0 && result->label == (margin > 0) ? agreeing + 1 : 1;
        result->label = margin > 0;
        result->exit = (uint8_t)segment;
        result->margin = (int16_t)(margin < 0 ? -margin : margin);
        if (segment < EE_EXITS && result->margin > thresholds[segment]) { break; }
        if (agreeing == patience) { break; }
    }
    return EE_OK;
}
"""

KERNEL_HEADER = """
#include <stdint.h>
void ee_sum(int8_t *values, unsigned count, unsigned sums);
"""

# Sums of every sums-th value, halved and clamped; conditional instructions and, on the target, dual multiplications.
KERNEL = """
#include "sum.h"
#if defined(__ARM_FEATURE_DSP)
#include <arm_acle.h>
#define MULTIPLY(a, b, sum) __smlad((int16x2_t)(a), (int16x2_t)(b), sum)
#else
#define MULTIPLY(a, b, sum) ((int16_t)(a) * (int16_t)(b) + (sum))
#endif
void ee_sum(int8_t *values, unsigned count, unsigned sums)
{
    unsigned i, j;
    for (i = 0; i < sums; i++) {
        int32_t sum = 0;
        for (j = i; j < count; j += sums) { sum = MULTIPLY((uint16_t)(int16_t)values[j], 3, sum); }
        sum /= 2;
        values[i] = (int8_t)(sum > 127 ? 127 : sum < -128 ? -128 : sum);
    }
}
"""

SOURCES = {"ee.h": HEADER, "ee.c": SOURCE, "sum.h": KERNEL_HEADER, "sum.c": KERNEL}


def inputs(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(-20, 21, (n, *IMAGE_SHAPE)).astype(np.int8)


def segments(image: np.ndarray) -> list[np.ndarray]:
    """What each segment leaves behind; its first two values are its logits."""
    left = []
    x = image.ravel().astype(np.int64)
    for sums in (*FEATURES, 2):
        x = np.clip(np.trunc(3 * x.reshape(-1, sums).sum(0) / 2), -128, 127).astype(np.int64)
        left.append(x.astype(np.int8))
    return left


def logits(images: np.ndarray) -> np.ndarray:
    return np.stack([[left[:2] for left in segments(image)] for image in images], 1)
