/*
 * Calls the functions of ee.h as the standard input says: commands of six 32-bit integers, the first being the function,
 * the last the bytes of data that follow. Answers each with the status and the bytes of data that follow.
 *
 * Data goes through blocks of the heap of just its size, so that AddressSanitizer sees a byte read or written too much.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ee.h"

enum { INIT, INPUT, RUN, RUN_SEGMENT, FEATURES, SET_THRESHOLD, GET_THRESHOLD, QUANTIZE, SET_PATIENCE, GET_PATIENCE };
enum { NOTHING, IN_PLACE, OUTSIDE, LEFT, STALE, ASTRAY };

static const int8_t *stale[EE_SEGMENTS + 1]; /* what ee_features has ever answered */

static void answer(int32_t status, const void *data, uint32_t size)
{
    fwrite(&status, sizeof status, 1, stdout);
    fwrite(&size, sizeof size, 1, stdout);
    if (size > 0) {
        fwrite(data, 1, size, stdout);
    }
}

static const int8_t *source(int32_t kind, uint32_t segment, const int8_t *data, uint32_t size)
{
    switch (kind) {
    case IN_PLACE:
        if (ee_input() != NULL && size == EE_IMAGE_BYTES) {
            memcpy(ee_input(), data, size);
        }
        return ee_input();
    case OUTSIDE:
        return data;
    case LEFT:
        return ee_features(segment - 1);
    case STALE:
        return segment < EE_SEGMENTS ? stale[segment] : NULL;
    case ASTRAY:
        return ee_input() == NULL ? NULL : ee_input() + 1;
    default:
        return NULL;
    }
}

static void run(int32_t kind, int32_t has_result, const int8_t *data, uint32_t size)
{
    ee_result *result = malloc(sizeof *result);
    int32_t found[3];
    int status;

    memset(result, 0xEE, sizeof *result);
    status = ee_run(source(kind, 0, data, size), has_result ? result : NULL);
    found[0] = result->label;
    found[1] = result->exit;
    found[2] = result->margin;
    answer(status, found, status == EE_OK ? sizeof found : 0);
    free(result);
}

static void run_segment(uint32_t segment, int32_t kind, int32_t has_logits, const int8_t *data, uint32_t size)
{
    int8_t *logits = malloc(EE_CLASSES);
    const int status = ee_run_segment(segment, source(kind, segment, data, size), has_logits ? logits : NULL);

    answer(status, logits, status == EE_OK ? EE_CLASSES : 0);
    free(logits);
}

static void features(uint32_t segment, uint32_t size)
{
    const int8_t *left = ee_features(segment);

    if (left != NULL) {
        stale[segment + 1] = left;
    }
    answer(left != NULL, left, left != NULL ? size : 0);
}

static void quantize(void)
{
    int8_t levels[256];
    int pixel;

    for (pixel = 0; pixel < 256; pixel++) {
        levels[pixel] = ee_quantize((uint8_t)pixel);
    }
    answer(EE_OK, levels, sizeof levels);
}

int main(void)
{
    int32_t command[6];

    while (fread(command, sizeof command, 1, stdin) == 1) {
        const uint32_t size = (uint32_t)command[5];
        int8_t *data = malloc(size > 0 ? size : 1);

        if (fread(data, 1, size, stdin) != size) {
            return 1;
        }
        switch (command[0]) {
        case INIT:
            answer(ee_init(), NULL, 0);
            break;
        case INPUT:
            answer(ee_input() != NULL && (uintptr_t)ee_input() % 4 == 0, NULL, 0);
            break;
        case RUN:
            run(command[1], command[2], data, size);
            break;
        case RUN_SEGMENT:
            run_segment((uint32_t)command[1], command[2], command[3], data, size);
            break;
        case FEATURES:
            features((uint32_t)command[1], (uint32_t)command[2]);
            break;
        case SET_THRESHOLD:
            answer(ee_set_threshold((unsigned)command[1], command[2]), NULL, 0);
            break;
        case GET_THRESHOLD:
            answer(ee_get_threshold((unsigned)command[1]), NULL, 0);
            break;
        case QUANTIZE:
            quantize();
            break;
        case SET_PATIENCE:
            answer(ee_set_patience(command[1]), NULL, 0);
            break;
        case GET_PATIENCE:
            answer(ee_get_patience(), NULL, 0);
            break;
        default:
            return 1;
        }
        free(data);
    }
    return 0;
}
