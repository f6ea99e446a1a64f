/*
 * The network of ee.h: constants, the calls of its layers, and the interface. Generated; see there.
 *
$summary
 *
$map
 */

#include "ee.h"

#include <stddef.h>
#include <string.h>

#include "ee_kernels.h"

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define EE_ALIGNED _Alignas(16)
#else
#define EE_ALIGNED __attribute__((aligned(16)))
#endif

static EE_ALIGNED uint32_t words[(EE_ARENA_BYTES + 3) / 4]; /* kernels use words of it as scratch */
static int8_t *const arena = (int8_t *)words;

$code
const char *const ee_labels[EE_CLASSES] = {$labels};

typedef struct {
    void (*run)(int8_t *logits);
    uint32_t input; /* where its input lies in the arena */
    uint32_t input_bytes;
    int16_t threshold; /* the default; the last classifier's lets everything pass */
} ee_segment;

static const ee_segment segments[EE_SEGMENTS] = {
$table
};

static int16_t thresholds[EE_SEGMENTS];
static uint8_t patience;
static uint8_t started;
static unsigned ready; /* the segment whose features lie in the arena; 0: there are none */

static int is_below(unsigned number, unsigned count)
{
    return number < count;
}

static int is_over_arena(const int8_t *begin, uint32_t bytes)
{
    const uintptr_t low = (uintptr_t)arena;

    return (uintptr_t)begin - low < EE_ARENA_BYTES || low - (uintptr_t)begin < bytes;
}

/* Sees to it that the input of a segment lies at its place in the arena. */
static int take(unsigned segment, const int8_t *input)
{
    int8_t *place = arena + segments[segment].input;
    const uint32_t bytes = segments[segment].input_bytes;

    if (segment == 0 && input == NULL) {
        return EE_ERROR_NULL;
    }
    if (segment == 0 && input == place) {
        return EE_OK;
    }
    if (input == NULL || input == place) {
        return ready == segment ? EE_OK : EE_ERROR_STATE;
    }
    if (is_over_arena(input, bytes)) {
        return EE_ERROR_RANGE;
    }
    memcpy(place, input, bytes);
    return EE_OK;
}

/* Runs a segment whose input lies at its place. */
static void run(unsigned segment, int8_t *logits)
{
    segments[segment].run(logits);
    ready = segment + 1 < EE_SEGMENTS ? segment + 1 : 0;
}

static int label_of(const int8_t logits[EE_CLASSES])
{
    return logits[1] > logits[0];
}

static int margin_of(const int8_t logits[EE_CLASSES])
{
    const int difference = logits[1] - logits[0];

    return difference < 0 ? -difference : difference;
}

int ee_init(void)
{
    unsigned exit;

    for (exit = 0; exit < EE_SEGMENTS; exit++) {
        thresholds[exit] = segments[exit].threshold;
    }
    patience = EE_PATIENCE;
    ready = 0;
    started = 1;
    return EE_OK;
}

int8_t ee_quantize(uint8_t pixel)
{
$quantize
}

int8_t *ee_input(void)
{
    return started ? arena + segments[0].input : NULL;
}

int ee_run(const int8_t *image, ee_result *result)
{
    int8_t logits[EE_CLASSES];
    unsigned segment, agreeing = 0; /* classifiers in a row with the same label */
    int label = -1, status;

    if (!started) {
        return EE_ERROR_STATE;
    }
    if (result == NULL) {
        return EE_ERROR_NULL;
    }
    status = take(0, image);
    if (status != EE_OK) {
        return status;
    }
    for (segment = 0;; segment++) {
        run(segment, logits);
        agreeing = label_of(logits) == label ? agreeing + 1 : 1;
        label = label_of(logits);
        if (margin_of(logits) > thresholds[segment] || agreeing == patience) {
            break;
        }
    }
    result->label = (uint8_t)label;
    result->exit = (uint8_t)segment;
    result->margin = (int16_t)margin_of(logits);
    return EE_OK;
}

int ee_run_segment(unsigned segment, const int8_t *input, int8_t logits[EE_CLASSES])
{
    int status;

    if (!started) {
        return EE_ERROR_STATE;
    }
    if (segment >= EE_SEGMENTS) {
        return EE_ERROR_RANGE;
    }
    if (logits == NULL) {
        return EE_ERROR_NULL;
    }
    status = take(segment, input);
    if (status != EE_OK) {
        return status;
    }
    run(segment, logits);
    return EE_OK;
}

const int8_t *ee_features(unsigned segment)
{
    if (ready == 0 || segment != ready - 1) {
        return NULL;
    }
    return arena + segments[ready].input;
}

int ee_set_threshold(unsigned exit, int margin)
{
    if (!started) {
        return EE_ERROR_STATE;
    }
    if (!is_below(exit, EE_EXITS) || margin < -1 || margin > 255) {
        return EE_ERROR_RANGE;
    }
    thresholds[exit] = (int16_t)margin;
    return EE_OK;
}

int ee_get_threshold(unsigned exit)
{
    if (!started) {
        return EE_ERROR_STATE;
    }
    if (!is_below(exit, EE_EXITS)) {
        return EE_ERROR_RANGE;
    }
    return thresholds[exit];
}

int ee_set_patience(int classifiers)
{
    if (!started) {
        return EE_ERROR_STATE;
    }
    if (classifiers < 0 || classifiers == 1 || classifiers > EE_SEGMENTS) {
        return EE_ERROR_RANGE;
    }
    patience = (uint8_t)classifiers;
    return EE_OK;
}

int ee_get_patience(void)
{
    return started ? patience : EE_ERROR_STATE;
}
