/*
 * INT8 kernels for early-exit networks, with weights of eight or four bits, equal to TensorFlow Lite Micro's to the bit.
 *
 * C99, integers only, no allocation. Activations are int8_t in rows, columns, channels. On cores with the DSP extension
 * (Cortex-M4, M7, M33, ...) inner loops use its dual multiply-accumulate; elsewhere plain C gives the same bytes.
 * Little-endian, two's complement, arithmetic right shift of negative numbers.
 *
 * Output and input may overlap where the output begins a given number of bytes or more before the input; the generator
 * knows how many for each layer. Scratch memory is aligned to 4 bytes and free after the call.
 */
#ifndef EE_KERNELS_H
#define EE_KERNELS_H

#include <stdint.h>

/* An output channel that is computed with TensorFlow Lite's own arithmetic; see ee_window. */
typedef struct {
    int32_t bias;        /* includes what the input's zero point subtracts */
    uint32_t multiplier; /* twice TensorFlow Lite's: 2^31 to 2^32 - 1, or 0 */
    uint16_t channel;
    int8_t shift;        /* to the right; negative: to the left, before the multiplication */
} ee_exact;

#define EE_RECTIFIED_SHIFT 12

/*
 * A convolution, pointwise convolution, fully connected layer or depthwise convolution. Padding has the value of the
 * input's zero point. An output is computed from its sum with one rounding:
 *
 *     sum = start + 2^8 * (weights * inputs, added up)
 *     output = clip((round(sum * multiplier / 2^32) + offset - (sum < 0 ? step : 0)) / 2^shift)
 *
 * The generator chooses start, multiplier, offset and step of each channel so that this gives TensorFlow Lite's bytes
 * for every sum that can occur. Channels for which it finds no such numbers are listed in `exact`.
 *
 * A layer is `rectified` where its output's zero point is -128, all its channels have the same offset and no step, and
 * its shift is EE_RECTIFIED_SHIFT. This needs fewer instructions.
 *
 * Layout of `weights`, in words of 4 bytes:
 * - Depthwise, for each channel: start; the rows of the kernel, each filled up with one to four bytes to a multiple of
 *   4; multiplier; and, if not rectified, offset and step. The first byte behind the first row is a number of bits: the
 *   sum's factor is 2^(8 + bits).
 * - Others, for each two channels a and b: a's start, b's start; for each four inputs of the window the bytes
 *   a0 b0 a2 b2 a1 b1 a3 b3; a's multiplier (and offset and step), then b's. The inputs are first the fours of each row of
 *   the window, a row being columns and channels, then what is left of each row, filled up with zeros. With an odd
 *   number of channels the last b is all zeros, and the last channel is among the exact ones.
 *
 * Weights of four bits lie two to a byte; the functions whose names end in 4 take them. In the layout above
 * - of a depthwise convolution the upper half of a byte is of one row, the lower half of the next. The number of bits is the
 *   lower half of the first byte behind the first row. All weights are unpacked to scratch memory first.
 * - of the others, the bytes for each four inputs are a0 b0 a2 b2 in the upper halves, a1 b1 a3 b3 in the lower ones. The
 *   kernels take them out 16 times as large, so the sum's factor is 2^12.
 */
typedef struct {
    const int8_t *weights;  /* aligned to 4 bytes */
    const ee_exact *exact;  /* `exacts` channels in ascending order */
    int32_t offset;         /* of all channels of a rectified layer */
    uint16_t in_height, in_width, in_channels;
    uint16_t out_height, out_width, out_channels;
    uint8_t kernel_height, kernel_width;
    uint8_t stride_y, stride_x;
    uint8_t pad_top, pad_left;
    int8_t in_zero_point, out_zero_point;
    int8_t low, high;       /* what the activation function leaves */
    uint8_t shift, rectified;
    uint8_t band;           /* depthwise: rows of output that are computed from one filling of scratch memory */
    uint16_t exacts;        /* number of exact channels */
    uint16_t row;           /* depthwise: values of a row in scratch memory, padding included, even */
} ee_window;

/*
 * Sum of two activations, a having the greater scale, if one is greater: b is brought to a's scale with 19 bits more,
 * the sum to the output's. Where a_line is not 0, the DSP code computes the same bytes with fewer instructions:
 *
 *     output = clip((start + round(2^24 * a * a_line / 2^32) + round(2^24 * b * b_line / 2^32)) / 2^20)
 */
typedef struct {
    uint32_t b_multiplier, multiplier; /* of b and of the sum; twice TensorFlow Lite's */
    int32_t a_line, b_line, start;
    uint8_t b_shift, shift;            /* to the right */
    int8_t a_zero_point, b_zero_point, out_zero_point;
    int8_t low, high;
    uint8_t fast;                      /* 1: `shift` is 1 to 22, and low and high are those of 8 bits */
    uint32_t size;
} ee_sum;

/* Mean of each channel over the picture. */
typedef struct {
    uint32_t multiplier; /* twice TensorFlow Lite's */
    int8_t shift;        /* to the right; negative: to the left */
    int8_t in_zero_point, out_zero_point;
    uint16_t pixels, channels;
} ee_pool;

/* Any kernel, stride and padding. */
void ee_convolution(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch);

/* 1x1, stride 1; a fully connected layer is one of a single pixel. */
void ee_pointwise(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch);

/* One output a channel. */
void ee_depthwise(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch);

/* The same for weights of four bits. The depthwise scratch memory also holds these as bytes. */
void ee_convolution4(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch);
void ee_pointwise4(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch);
void ee_depthwise4(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch);

void ee_add(const ee_sum *layer, const int8_t *a, const int8_t *b, int8_t *output);

void ee_mean(const ee_pool *layer, const int8_t *input, int8_t *output);

#endif
