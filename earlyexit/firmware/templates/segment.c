/*
 * Segment $number, with the classifier $name: a .tflite file of $bytes bytes. Generated.
 *
$layers
 */

#include <stdint.h>

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define EE_ALIGNED _Alignas(16)
#else
#define EE_ALIGNED __attribute__((aligned(16)))
#endif

extern const uint8_t ee_tflm_segment$number[$bytes];

EE_ALIGNED const uint8_t ee_tflm_segment$number[$bytes] = {
$rows
};
