/*
 * A quantized early-exit network: $title.
 * Generated from the INT8 segments; the next run of the generator writes this file anew.
 *
 * SHA-256 of the segments, one behind the other:
 * $digest
 *
 *     ee_result result;
 *     ee_init();
 *     fill(ee_input());
 *     if (ee_run(ee_input(), &result) == EE_OK) {
 *         puts(ee_labels[result.label]);
 *     }
 *
 * A segment is what runs between two exits. The classifier at its end decides where the margin between its
 * two logits is greater than its threshold; where it is not, the next segment goes on. With patience k, a
 * classifier also decides where it is the k-th in a row that gives the image the same class. The last
 * classifier always decides.
 *
$policy
 *
 * All state is static, so there is one network in a program, and one caller at a time.
 */

#ifndef EE_H
#define EE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EE_VERSION "$version"
#define EE_SEGMENTS $segments /* segments, each with a classifier at its end */
#define EE_EXITS $exits /* early exits: all classifiers but the last */
#define EE_CLASSES $classes
#define EE_ARENA_BYTES $arena /* RAM for all activations; there are a few bytes of state beside it */
#define EE_CONSTANTS_BYTES $flash /* flash for weights, biases and multipliers */

/* An image: INT8, row by row, the channels of a pixel side by side. real = scale * (value - zero point) */
#define EE_IMAGE_HEIGHT $height
#define EE_IMAGE_WIDTH $width
#define EE_IMAGE_CHANNELS $channels
#define EE_IMAGE_BYTES $image
#define EE_INPUT_SCALE $scale
#define EE_INPUT_ZERO_POINT $zero_point

$features
$logits
$defaults
enum {
    EE_OK = 0,
    EE_ERROR_NULL = -1,  /* a pointer is NULL that must not be */
    EE_ERROR_RANGE = -2, /* no such segment, exit, threshold or patience, or an input over the arena */
    EE_ERROR_STATE = -3  /* ee_init was not called, or there are no features to go on from */
};

typedef struct {
    uint8_t label;  /* the class: a place in ee_labels */
    uint8_t exit;   /* number of the classifier that decided, from 0 */
    int16_t margin; /* its |z1 - z0|, 0 to 255, in steps of its logits' scale */
} ee_result;

extern const char *const ee_labels[EE_CLASSES];

/* Sets thresholds and patience to their defaults and forgets all features. Comes first; returns EE_OK. */
int ee_init(void);

/* A pixel, 0 to 255, as the network takes it. */
int8_t ee_quantize(uint8_t pixel);

/*
 * Where an image can be put to save a copy: EE_IMAGE_BYTES within the arena. Writing there overwrites
 * features, running a segment overwrites the image. NULL before ee_init.
 */
int8_t *ee_input(void);

/*
 * Classifies an image of EE_IMAGE_BYTES, at ee_input() or outside of the arena, segment by segment up to the
 * first classifier that is sure enough. Leaves `result` as it was where it returns an error.
 */
int ee_run(const int8_t *image, ee_result *result);

/*
 * Runs one segment, whatever the policy, and writes the two logits of its classifier. The input of
 * segment 0 is an image, as for ee_run. The input of a later one is NULL, for the features that the segment
 * before it has just left in the arena, or points to such features outside of it (EE_FEATURES_n_BYTES for
 * segment n).
 */
int ee_run_segment(unsigned segment, const int8_t *input, int8_t logits[EE_CLASSES]);

/* The features that the segment has left for the next one; NULL if another ran since, or it is the last. */
const int8_t *ee_features(unsigned segment);

/* An image leaves at an exit where its margin is greater. -1: always; 255: never. */
int ee_set_threshold(unsigned exit, int margin);

/* The threshold of an exit, -1 to 255, or EE_ERROR_RANGE or EE_ERROR_STATE. */
int ee_get_threshold(unsigned exit);

/* Classifiers in a row that give an image the same class when it leaves: 2 to EE_SEGMENTS; 0: not counted. */
int ee_set_patience(int classifiers);

/* The patience, or EE_ERROR_STATE. */
int ee_get_patience(void);

#ifdef __cplusplus
}
#endif

#endif
