/*
 * The segments of an early-exit network for TensorFlow Lite Micro. Generated; example_main.cc shows how they
 * are run.
 *
 * They run in the order of the table: segment 0 takes the image, each later one the features of the one
 * before it. A segment's classifier decides where the margin |z1 - z0| of its two INT8 logits is greater than
 * its threshold, or where it is the EE_TFLM_PATIENCE-th in a row that gives the image the same class. The
 * last one always decides. Class 1 where z1 > z0, else 0.
 *
$policy
 */

#ifndef EE_TFLM_H
#define EE_TFLM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EE_TFLM_SEGMENTS $segments
#define EE_TFLM_EXITS $exits /* early exits: all classifiers but the last */
#define EE_TFLM_CLASSES 2
#define EE_TFLM_PATIENCE $patience /* 0: the thresholds alone decide */

/*
 * The largest of the arenas, and of the features, which must be kept beside the arena while the next segment
 * is set up. Measured with TFLM's reference kernels on a 64-bit computer: a 32-bit device needs less for
 * pointers, its optimized kernels may need more for scratch memory.
 */
#define EE_TFLM_ARENA_BYTES $arena
#define EE_TFLM_FEATURES_BYTES $features

/* An image: INT8, row by row, the channels of a pixel side by side. real = scale * (value - zero point) */
#define EE_TFLM_IMAGE_BYTES $image
#define EE_TFLM_INPUT_SCALE $scale
#define EE_TFLM_INPUT_ZERO_POINT $zero_point

/* What a tflite::MicroMutableOpResolver<EE_TFLM_OPERATORS> must know; true where it cannot be added. */
#define EE_TFLM_OPERATORS $operators
#define EE_TFLM_ADD_OPERATORS_FAILS(resolver) \
    ( \
$adds \
    )

typedef struct {
    const uint8_t *model; /* the .tflite file, aligned to 16 bytes */
    uint32_t model_bytes;
    uint32_t arena_bytes;
    uint32_t features_bytes;
    int8_t logits;     /* number of the output that holds the logits */
    int8_t features;   /* number of the output that holds the features; -1: there are none */
    int16_t threshold; /* -1: every image leaves */
} ee_tflm_segment;

extern const ee_tflm_segment ee_tflm_segments[EE_TFLM_SEGMENTS];
extern const char *const ee_tflm_labels[EE_TFLM_CLASSES];

#ifdef __cplusplus
}
#endif

#endif
