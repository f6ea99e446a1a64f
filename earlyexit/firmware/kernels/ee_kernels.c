/* See ee_kernels.h. Tests check every kernel against TensorFlow Lite Micro, with and without the DSP code. */
#include "ee_kernels.h"

#include <string.h>

/* Right shifts of negative numbers must keep the sign; C leaves that to the compiler. */
typedef char ee_arithmetic_shift_needed[(-1 >> 1) == -1 ? 1 : -1];

#if defined(EE_EMULATE_DSP)
#define EE_DSP 1
#include "ee_emulated_dsp.h"
#elif defined(__ARM_FEATURE_DSP) && defined(__thumb2__)
#define EE_DSP 1

/* Bytes 0 and 2 of four, as two 16-bit numbers. */
static inline uint32_t ee_even(uint32_t bytes) {
    uint32_t halves;
    __asm__("sxtb16 %0, %1" : "=r"(halves) : "r"(bytes));
    return halves;
}

/* Bytes 1 and 3. */
static inline uint32_t ee_odd(uint32_t bytes) {
    uint32_t halves;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(bytes));
    return halves;
}

/* sum + both products of a's and b's halves */
static inline int32_t ee_mac(uint32_t a, uint32_t b, int32_t sum) {
    int32_t result;
    __asm__("smlad %0, %1, %2, %3" : "=r"(result) : "r"(a), "r"(b), "r"(sum));
    return result;
}

/* The lower halves of a and b, a's below. */
static inline uint32_t ee_lows(uint32_t a, uint32_t b) {
    uint32_t halves;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(halves) : "r"(a), "r"(b));
    return halves;
}

/* The upper halves of a and b, a's below. */
static inline uint32_t ee_highs(uint32_t a, uint32_t b) {
    uint32_t halves;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(halves) : "r"(b), "r"(a));
    return halves;
}

/*
 * round(x * multiplier / 2^32), halves up. The instruction takes the multiplier, 2^31 or more, for one that is smaller
 * by 2^32, and adds x for the difference.
 */
static inline int32_t ee_scaled(int32_t x, uint32_t multiplier) {
    int32_t result;
    __asm__("smmlar %0, %1, %2, %1" : "=r"(result) : "r"(x), "r"(multiplier));
    return result;
}

static inline int8_t ee_saturated(int32_t x) {
    int32_t result;
    __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(x));
    return (int8_t)result;
}

/*
 * Add the products of `groups` times four weights with four pixels. Per group the block has bytes 0 and 2 of each
 * pixel, then bytes 1 and 3. Two groups a round; with an odd number of groups the first round begins in the middle.
 */
static inline void ee_dot4(const int8_t *weights, const uint32_t *block, int groups, int32_t sums[4]) {
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    uint32_t bytes, halves;
#define EE_GROUP                                                                                                       \
    "ldr %[bytes], [%[weights]], #4\n"                                                                                 \
    "ldmia %[block]!, {r4, r5, r6, r8}\n"                                                                              \
    "sxtb16 %[halves], %[bytes]\n"                                                                                     \
    "smlad %[s0], r4, %[halves], %[s0]\n"                                                                              \
    "smlad %[s1], r5, %[halves], %[s1]\n"                                                                              \
    "smlad %[s2], r6, %[halves], %[s2]\n"                                                                              \
    "smlad %[s3], r8, %[halves], %[s3]\n"                                                                              \
    "ldmia %[block]!, {r4, r5, r6, r8}\n"                                                                              \
    "sxtb16 %[halves], %[bytes], ror #8\n"                                                                             \
    "smlad %[s0], r4, %[halves], %[s0]\n"                                                                              \
    "smlad %[s1], r5, %[halves], %[s1]\n"                                                                              \
    "smlad %[s2], r6, %[halves], %[s2]\n"                                                                              \
    "smlad %[s3], r8, %[halves], %[s3]\n"
    __asm__ volatile("lsls %[bytes], %[groups], #31\n"
                     "bne 2f\n"
                     "1:\n" EE_GROUP "2:\n" EE_GROUP "subs %[groups], %[groups], #2\n"
                     "bgt 1b\n"
                     : [s0] "+r"(s0), [s1] "+r"(s1), [s2] "+r"(s2), [s3] "+r"(s3), [weights] "+r"(weights),
                       [block] "+r"(block), [groups] "+r"(groups), [bytes] "=&r"(bytes), [halves] "=&r"(halves)
                     :
                     : "r4", "r5", "r6", "r8", "cc", "memory");
#undef EE_GROUP
    sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
}

/*
 * Two neighbours of a 3x3 window's output, from pairs of values: at[i] in row i, which is moved on by a pair. A row of
 * `weights` is (w0, w1), (w1, w2); the bias comes last.
 */
static inline void ee_window_pair(const uint32_t *at[3], const uint32_t weights[7], int32_t sums[2]) {
    uint32_t x, y, a, b;
#define EE_ROW(row, offset)                                                                                            \
    "ldrd %[x], %[y], [%[" row "]], #4\n"                                                                              \
    "ldrd %[a], %[b], [%[weights], #" offset "]\n"                                                                     \
    "smlatb %[t], %[x], %[a], %[t]\n"                                                                                  \
    "smlad %[s], %[x], %[a], %[s]\n"                                                                                   \
    "smlad %[t], %[y], %[b], %[t]\n"                                                                                   \
    "smlabt %[s], %[y], %[b], %[s]\n"
    __asm__("ldr %[s], [%[weights], #24]\n"
            "ldr %[t], [%[weights], #24]\n" EE_ROW("p", "0") EE_ROW("q", "8") EE_ROW("r", "16")
            : [p] "+r"(at[0]), [q] "+r"(at[1]), [r] "+r"(at[2]), [s] "=&r"(sums[0]), [t] "=&r"(sums[1]), [x] "=&r"(x),
              [y] "=&r"(y), [a] "=&r"(a), [b] "=&r"(b)
            : [weights] "r"(weights)
            : "memory");
#undef EE_ROW
}

/* One output of the same, as stride 2 needs it. */
static inline int32_t ee_window_single(const uint32_t *at[3], const uint32_t weights[7]) {
    uint32_t x, y, a, b;
    int32_t sum;
#define EE_ROW(row, offset)                                                                                            \
    "ldrd %[x], %[y], [%[" row "]], #4\n"                                                                              \
    "ldrd %[a], %[b], [%[weights], #" offset "]\n"                                                                     \
    "smlad %[s], %[x], %[a], %[s]\n"                                                                                   \
    "smlabt %[s], %[y], %[b], %[s]\n"
    __asm__("ldr %[s], [%[weights], #24]\n" EE_ROW("p", "0") EE_ROW("q", "8") EE_ROW("r", "16")
            : [p] "+r"(at[0]), [q] "+r"(at[1]), [r] "+r"(at[2]), [s] "=&r"(sum), [x] "=&r"(x), [y] "=&r"(y),
              [a] "=&r"(a), [b] "=&r"(b)
            : [weights] "r"(weights)
            : "memory");
#undef EE_ROW
    return sum;
}

/* x, less 1 if it is negative: with half a step added, halves then round away from zero. */
static inline int32_t ee_away(int32_t x) {
    int32_t result;
    __asm__("add %0, %1, %1, asr #31" : "=r"(result) : "r"(x));
    return result;
}
#endif

/* In freestanding programs compilers call memcpy even for a word; GCC's and clang's own becomes a load or a store. */
#if defined(__GNUC__)
#define EE_COPY __builtin_memcpy
#define EE_INLINE static inline __attribute__((always_inline)) /* for variants with one argument constant */
#define EE_APART static __attribute__((noinline))              /* keeps its registers to itself */
#else
#define EE_COPY memcpy
#define EE_INLINE static inline
#define EE_APART static
#endif

/* Before loops of a few rounds, which unrolled cost more than they save. */
#if defined(__clang__)
#define EE_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define EE_ROLLED
#endif

static inline uint32_t ee_load(const int8_t *bytes) {
    uint32_t word;
    EE_COPY(&word, bytes, sizeof word);
    return word;
}

static inline void ee_store(int8_t *bytes, uint32_t word) {
    EE_COPY(bytes, &word, sizeof word);
}

/* Copy `count` bytes, few as a rule. */
static inline void ee_copy(int8_t *to, const int8_t *from, int count) {
    EE_ROLLED for (; count >= 4; count -= 4, to += 4, from += 4) {
        ee_store(to, ee_load(from));
    }
    EE_ROLLED for (; count > 0; count--) {
        *to++ = *from++;
    }
}

/* TensorFlow Lite's rounding: to 32 bits with halves up, then by the shift with halves away from zero. */
static int32_t ee_requantized(int32_t sum, uint32_t multiplier, int shift) {
    if (shift < 0) {
        sum = (int32_t)((uint32_t)sum << -shift);
        shift = 0;
    }
    const int32_t high = (int32_t)(((int64_t)sum * multiplier + ((int64_t)1 << 31)) >> 32);
    const uint32_t mask = ((uint32_t)1 << shift) - 1;
    return (high >> shift) + (((uint32_t)high & mask) > (mask >> 1) + (high < 0));
}

static int8_t ee_clipped(int32_t value, int32_t low, int32_t high) {
    return (int8_t)(value < low ? low : value > high ? high : value);
}

static int8_t ee_output(const ee_window *layer, int channel, int32_t sum) {
    const int32_t value = ee_requantized(sum, layer->multipliers[channel], layer->shifts[channel]);
    /* Unsigned, since the output of a left shift may be anything. */
    const int32_t moved = (int32_t)((uint32_t)value + (uint32_t)layer->out_zero_point);
    return ee_clipped(moved, layer->low, layer->high);
}

static size_t ee_out_size(const ee_window *layer) {
    return (size_t)layer->out_height * layer->out_width * layer->out_channels;
}

/* Bytes of one output channel's weights. */
static int ee_depth(const ee_window *layer) {
    return layer->kernel_height * layer->kernel_width * layer->in_channels;
}

/*
 * Copy the window of an output pixel, in the order of the weights. Behind it as many bytes as a short line has may be
 * overwritten; three channels make the lines of the first layer that short.
 */
#define EE_SHORT 12
EE_APART void ee_gather(const ee_window *layer, const int8_t *input, int pixel, int8_t *patch) {
    const int channels = layer->in_channels, rows = layer->kernel_height, width = layer->in_width;
    const int y = pixel / layer->out_width * layer->stride_y - layer->pad_top;
    const int x = pixel % layer->out_width * layer->stride_x - layer->pad_left;
    const int line = layer->kernel_width * channels;
    if (x >= 0 && y >= 0 && x + layer->kernel_width <= width && y + rows <= layer->in_height) {
        const int pitch = width * channels;
        const int8_t *from = input + y * pitch + x * channels, *end = from + rows * pitch;
        if (line <= EE_SHORT && (layer->in_height - y - rows + 1) * pitch - x * channels >= EE_SHORT) {
            EE_ROLLED for (; from < end; patch += line, from += pitch) {
                /* More than the line, but within the input. */
                ee_store(patch, ee_load(from));
                ee_store(patch + 4, ee_load(from + 4));
                ee_store(patch + 8, ee_load(from + 8));
            }
            return;
        }
        EE_ROLLED for (; from < end; patch += line, from += pitch) {
            ee_copy(patch, from, line);
        }
        return;
    }
    memset(patch, layer->in_zero_point, (size_t)(rows * line));
    const int left = x < 0 ? 0 : x;
    const int right = x + layer->kernel_width < width ? x + layer->kernel_width : width;
    for (int row = y < 0 ? 0 : y; row < y + rows && row < layer->in_height; row++) {
        ee_copy(patch + (row - y) * line + (left - x) * channels, input + (row * width + left) * channels,
                (right - left) * channels);
    }
}

/* All channels of one pixel. */
static void ee_pixel(const ee_window *layer, const int8_t *patch, int depth, int8_t *output) {
    const int8_t *weights = layer->weights;
    for (int channel = 0; channel < layer->out_channels; channel++, weights += depth) {
        int32_t sum = layer->bias[channel];
        for (int i = 0; i < depth; i++) {
            sum += weights[i] * patch[i];
        }
        output[channel] = ee_output(layer, channel, sum);
    }
}

static void ee_convolution_plain(const ee_window *layer, const int8_t *input, int8_t *output, int8_t *patch) {
    const int pixels = layer->out_height * layer->out_width;
    const int depth = ee_depth(layer);
    for (int pixel = 0; pixel < pixels; pixel++, output += layer->out_channels) {
        ee_gather(layer, input, pixel, patch);
        ee_pixel(layer, patch, depth, output);
    }
}

#if defined(EE_DSP)

/* The last one to three bytes of a row, with zeros behind. */
static inline uint32_t ee_load_some(const int8_t *bytes, int count) {
    uint32_t word = 0;
    for (int i = 0; i < count; i++) {
        word |= (uint32_t)(uint8_t)bytes[i] << 8 * i;
    }
    return word;
}

/* What is added before the shift: the zero point and half a step; `point` is twice the zero point and one. */
static inline int32_t ee_offset(int32_t point, int shift) {
    return (int32_t)((uint32_t)point << shift) >> 1;
}

/*
 * Sum to output, not clipped yet to less than 8 bits. Negative sums round away from zero; where the zero point is -128
 * (rectified) that does not matter, since they all become -128.
 */
static inline int8_t ee_finished(int32_t sum, uint32_t multiplier, int shift, int32_t offset, int rectified) {
    const int32_t high = ee_scaled(sum, multiplier);
    return ee_saturated(((rectified ? high : ee_away(high)) + offset) >> shift);
}

/* Clip what activation functions clip at less than 8 bits, which is rare. */
EE_APART void ee_clip(const ee_window *layer, int8_t *output) {
    if (layer->low == -128 && layer->high == 127) {
        return;
    }
    for (size_t i = 0, size = ee_out_size(layer); i < size; i++) {
        output[i] = ee_clipped(output[i], layer->low, layer->high);
    }
}

static inline void ee_widen_group(uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t *group) {
    group[0] = ee_even(a), group[1] = ee_even(b), group[2] = ee_even(c), group[3] = ee_even(d);
    group[4] = ee_odd(a), group[5] = ee_odd(b), group[6] = ee_odd(c), group[7] = ee_odd(d);
}

/* Widen four rows of `depth` bytes, one behind the other, to the block that ee_dot4 takes. */
EE_APART void ee_widen4(const int8_t *rows, int depth, uint32_t *block) {
    const int8_t *a = rows, *b = a + depth, *c = b + depth, *d = c + depth;
    int left = depth;
    for (; left >= 4; left -= 4, a += 4, b += 4, c += 4, d += 4, block += 8) {
        ee_widen_group(ee_load(a), ee_load(b), ee_load(c), ee_load(d), block);
    }
    if (left > 0) {
        ee_widen_group(ee_load_some(a, left), ee_load_some(b, left), ee_load_some(c, left), ee_load_some(d, left),
                       block);
    }
}

/* All channels of four pixels. Fields are copied: as far as C knows, each output may overwrite them. */
EE_INLINE void ee_pixels4(const ee_window *layer, const uint32_t *block, int8_t *output, int rectified) {
    const int depth = ee_depth(layer), groups = (depth + 3) >> 2;
    const int channels = layer->out_channels;
    const int8_t *weights = layer->weights, *shifts = layer->shifts;
    const int32_t *bias = layer->bias;
    const uint32_t *multipliers = layer->multipliers;
    const int32_t point = rectified ? 2 * -128 + 1 : 2 * layer->out_zero_point + 1;
    for (int8_t *end = output + channels; output < end; output++, weights += depth) {
        const int32_t start = *bias++;
        int32_t sums[4] = {start, start, start, start};
        ee_dot4(weights, block, groups, sums);
        const uint32_t multiplier = *multipliers++;
        const int shift = *shifts++;
        const int32_t offset = ee_offset(point, shift);
        output[0] = ee_finished(sums[0], multiplier, shift, offset, rectified);
        output[channels] = ee_finished(sums[1], multiplier, shift, offset, rectified);
        output[2 * channels] = ee_finished(sums[2], multiplier, shift, offset, rectified);
        output[3 * channels] = ee_finished(sums[3], multiplier, shift, offset, rectified);
    }
}

/* All channels of one pixel. The row is widened first: the output may overwrite it. */
EE_APART void ee_pixel1(const ee_window *layer, const int8_t *row, uint32_t *block, int8_t *output) {
    const int depth = ee_depth(layer);
    uint32_t *at = block;
    for (int left = depth; left > 0; left -= 4, row += 4) {
        const uint32_t bytes = left >= 4 ? ee_load(row) : ee_load_some(row, left);
        *at++ = ee_even(bytes);
        *at++ = ee_odd(bytes);
    }
    const uint32_t *const end = at;
    const int8_t *weights = layer->weights, *shifts = layer->shifts;
    const int32_t *bias = layer->bias;
    const uint32_t *multipliers = layer->multipliers;
    const int32_t point = 2 * layer->out_zero_point + 1;
    for (int channel = layer->out_channels; channel > 0; channel--, weights += depth) {
        int32_t sum = *bias++;
        const int8_t *weight = weights;
        for (at = block; at < end; at += 2, weight += 4) {
            const uint32_t bytes = ee_load(weight);
            sum = ee_mac(at[0], ee_even(bytes), sum);
            sum = ee_mac(at[1], ee_odd(bytes), sum);
        }
        const int shift = *shifts++;
        *output++ = ee_finished(sum, *multipliers++, shift, ee_offset(point, shift), 0);
    }
}

/* Pixels in fours, the rest one by one. `pointwise`: rows of the input are the windows. */
static void ee_convolution_dsp(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch,
                               int pointwise) {
    const int pixels = layer->out_height * layer->out_width;
    const int depth = ee_depth(layer);
    uint32_t *const block = scratch;
    int8_t *const patches = (int8_t *)(scratch + 8 * ((depth + 3) >> 2));
    int8_t *out = output;
    int pixel = 0;
    for (; pixel + 4 <= pixels; pixel += 4, out += 4 * layer->out_channels) {
        const int8_t *rows = pointwise ? input + pixel * depth : patches;
        for (int i = 0; i < 4 && !pointwise; i++) {
            ee_gather(layer, input, pixel + i, patches + i * depth);
        }
        ee_widen4(rows, depth, block);
        if (layer->out_zero_point == -128) {
            ee_pixels4(layer, block, out, 1);
        } else {
            ee_pixels4(layer, block, out, 0);
        }
    }
    for (; pixel < pixels; pixel++, out += layer->out_channels) {
        if (!pointwise) {
            ee_gather(layer, input, pixel, patches);
        }
        ee_pixel1(layer, pointwise ? input + pixel * depth : patches, block, out);
    }
    ee_clip(layer, output);
}
#endif

void ee_convolution(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch) {
#if defined(EE_DSP)
    if (layer->fast) {
        ee_convolution_dsp(layer, input, output, scratch, 0);
        return;
    }
#endif
    ee_convolution_plain(layer, input, output, (int8_t *)scratch);
}

void ee_pointwise(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch) {
#if defined(EE_DSP)
    if (layer->fast) {
        ee_convolution_dsp(layer, input, output, scratch, 1);
        return;
    }
#endif
    ee_convolution_plain(layer, input, output, (int8_t *)scratch);
}

/*
 * A few channels at a time, so that the output can lie on the input: rows of the input, with padding, are copied to
 * scratch memory channel by channel, as bytes (plain) or 16-bit numbers (DSP); then a band of output rows is computed.
 */

/* One channel of a row, as bytes. */
static void ee_plane_row1(const int8_t *input, int stride, int width, int8_t *row) {
    for (int x = 0; x < width; x++) {
        row[x] = input[x * stride];
    }
}

/* A band of one channel's output. */
static void ee_band_plain(const ee_window *layer, const int8_t *plane, int channel, int rows, int8_t *output) {
    const int8_t *weights = layer->weights + channel * layer->kernel_height * layer->kernel_width;
    for (int y = 0; y < rows; y++) {
        for (int x = 0; x < layer->out_width; x++, output += layer->out_channels) {
            const int8_t *corner = plane + y * layer->stride_y * layer->row + x * layer->stride_x;
            const int8_t *weight = weights;
            int32_t sum = layer->bias[channel];
            for (int i = 0; i < layer->kernel_height; i++, corner += layer->row) {
                for (int j = 0; j < layer->kernel_width; j++) {
                    sum += *weight++ * corner[j];
                }
            }
            *output = ee_output(layer, channel, sum);
        }
    }
}

#if defined(EE_DSP)

/* Four channels of some rows, as 16-bit numbers in four planes of `plane` bytes; `to` is the first value's place. */
EE_APART void ee_planes4(const ee_window *layer, const int8_t *input, int rows, int8_t *to, int plane) {
    const int channels = layer->in_channels, width = layer->in_width, line = 2 * layer->row;
    for (; rows > 0; rows--, to += line) {
        int8_t *p = to, *q = p + plane, *r = q + plane, *s = r + plane;
        int left = width;
        EE_ROLLED for (; left >= 2; left -= 2, p += 4, q += 4, r += 4, s += 4) {
            const uint32_t a = ee_load(input), b = ee_load(input + channels);
            const uint32_t even_a = ee_even(a), even_b = ee_even(b), odd_a = ee_odd(a), odd_b = ee_odd(b);
            input += 2 * channels;
            ee_store(p, ee_lows(even_a, even_b));
            ee_store(q, ee_lows(odd_a, odd_b));
            ee_store(r, ee_highs(even_a, even_b));
            ee_store(s, ee_highs(odd_a, odd_b));
        }
        if (left > 0) {
            EE_ROLLED for (int i = 0; i < 4; i++, p += plane) {
                p[0] = input[i];
                p[1] = (int8_t)(input[i] < 0 ? -1 : 0);
            }
            input += channels;
        }
    }
}

/* A band of one channel's output: 3x3, stride 1 (two pixels at a time) or 2. */
EE_INLINE void ee_band_dsp(const ee_window *layer, const uint32_t *plane, int channel, int rows, int8_t *output,
                               int stride, int rectified) {
    const int8_t *w = layer->weights + 9 * channel;
    uint32_t weights[7];
    for (int i = 0; i < 3; i++, w += 3) {
        weights[2 * i] = ee_lows((uint32_t)w[0], (uint32_t)w[1]);
        weights[2 * i + 1] = ee_lows((uint32_t)w[1], (uint32_t)w[2]);
    }
    weights[6] = (uint32_t)layer->bias[channel];
    const uint32_t multiplier = layer->multipliers[channel];
    const int shift = layer->shifts[channel];
    const int32_t offset = ee_offset(2 * layer->out_zero_point + 1, shift);
    const int words = layer->row / 2, channels = layer->out_channels, width = layer->out_width;
    for (; rows > 0; rows--, plane += stride * words) {
        const uint32_t *at[3] = {plane, plane + words, plane + 2 * words};
        int left = width;
        for (; stride == 1 && left >= 2; left -= 2, output += 2 * channels) {
            int32_t sums[2];
            ee_window_pair(at, weights, sums);
            output[0] = ee_finished(sums[0], multiplier, shift, offset, rectified);
            output[channels] = ee_finished(sums[1], multiplier, shift, offset, rectified);
        }
        for (; left > 0; left--, output += channels) {
            *output = ee_finished(ee_window_single(at, weights), multiplier, shift, offset, rectified);
        }
    }
}

EE_APART void ee_bands_dsp(const ee_window *layer, const int8_t *planes, int plane, int channel, int rows,
                         int8_t *output) {
    const int stride = layer->stride_x;
    const int rectified = layer->out_zero_point == -128;
    for (int i = 0; i < 4; i++, planes += plane, output++) {
        const uint32_t *words = (const uint32_t *)(const void *)planes;
        if (stride == 1 && rectified) {
            ee_band_dsp(layer, words, channel + i, rows, output, 1, 1);
        } else if (stride == 1) {
            ee_band_dsp(layer, words, channel + i, rows, output, 1, 0);
        } else if (rectified) {
            ee_band_dsp(layer, words, channel + i, rows, output, 2, 1);
        } else {
            ee_band_dsp(layer, words, channel + i, rows, output, 2, 0);
        }
    }
}

static int ee_is_fast_depthwise(const ee_window *layer) {
    return layer->fast && layer->kernel_height == 3 && layer->kernel_width == 3 &&
           layer->stride_x == layer->stride_y && layer->stride_x <= 2;
}
#endif

/* Fill `count` bytes, an even number, with values of one byte (plain) or two. */
EE_APART void ee_fill(int8_t *bytes, int count, int unit, int8_t value) {
    const int8_t upper = unit == 1 ? value : (int8_t)(value < 0 ? -1 : 0);
    for (int i = 0; i < count; i += 2) {
        bytes[i] = value;
        bytes[i + 1] = upper;
    }
}

/* `group` channels from `channel` on: 4 with the DSP extension, 1 without. Scratch memory is full of padding. */
static void ee_depthwise_group(const ee_window *layer, const int8_t *input, int8_t *output, int8_t *planes, int channel,
                               int group) {
    const int unit = group == 4 ? 2 : 1;
    const int line = layer->row * unit;
    const int held = (layer->band - 1) * layer->stride_y + layer->kernel_height;
    const int plane = held * line;
    const int step = layer->band * layer->stride_y;
    const int kept = held > step ? held - step : 0;
    const int pitch = layer->in_width * layer->in_channels;
    for (int y = 0; y < layer->out_height; y += layer->band) {
        const int rows = layer->out_height - y < layer->band ? layer->out_height - y : layer->band;
        const int first = y * layer->stride_y - layer->pad_top;
        /* Rows of scratch memory: which of them are filled from the input, and where that ends. */
        int from = y > 0 ? kept : 0;
        int to = (rows - 1) * layer->stride_y + layer->kernel_height;
        for (int i = 0; i < group && y > 0; i++) {
            ee_copy(planes + i * plane, planes + i * plane + step * line, kept * line);
        }
        /* With a single band the padding above and below is still there from the channels before. */
        for (int i = 0; i < group && layer->band < layer->out_height; i++) {
            const int above = first + from < 0 ? -first - from : 0;
            const int below = first + to > layer->in_height ? first + to - layer->in_height : 0;
            ee_fill(planes + i * plane + from * line, (above < to - from ? above : to - from) * line, unit,
                    layer->in_zero_point);
            ee_fill(planes + i * plane + (to - (below < to - from ? below : to - from)) * line,
                    (below < to - from ? below : to - from) * line, unit, layer->in_zero_point);
        }
        from = first + from < 0 ? -first : from;
        to = first + to > layer->in_height ? layer->in_height - first : to;
        const int8_t *values = input + (first + from) * pitch + channel;
        int8_t *place = planes + from * line + layer->pad_left * unit;
        int8_t *out = output + y * layer->out_width * layer->out_channels + channel;
#if defined(EE_DSP)
        if (group == 4) {
            ee_planes4(layer, values, to - from, place, plane);
            ee_bands_dsp(layer, planes, plane, channel, rows, out);
            continue;
        }
#endif
        for (; from < to; from++, values += pitch, place += line) {
            ee_plane_row1(values, layer->in_channels, layer->in_width, place);
        }
        ee_band_plain(layer, planes, channel, rows, out);
    }
}

void ee_depthwise(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch) {
    int8_t *planes = (int8_t *)scratch;
    const int held = (layer->band - 1) * layer->stride_y + layer->kernel_height;
    const int values = held * layer->row;
    const size_t size = (size_t)layer->in_height * layer->in_width * layer->in_channels;
    const uintptr_t lead = (uintptr_t)input - (uintptr_t)output;
    /* Channel by channel the output can lie on the input or away from it, but not on another channel of it. */
    if (lead > 0 && lead < ee_out_size(layer)) {
        memmove(output, input, size);
        input = output;
    }
    int channel = 0;
#if defined(EE_DSP)
    if (ee_is_fast_depthwise(layer)) {
        ee_fill(planes, 8 * values, 2, layer->in_zero_point);
        for (; channel + 4 <= layer->out_channels; channel += 4) {
            ee_depthwise_group(layer, input, output, planes, channel, 4);
        }
    }
#endif
    ee_fill(planes, values, 1, layer->in_zero_point);
    for (; channel < layer->out_channels; channel++) {
        ee_depthwise_group(layer, input, output, planes, channel, 1);
    }
#if defined(EE_DSP)
    if (layer->fast) {
        ee_clip(layer, output);
    }
#endif
}

static void ee_add_plain(const ee_sum *layer, const int8_t *a, const int8_t *b, int8_t *output) {
    for (uint32_t i = 0; i < layer->size; i++) {
        const int32_t first = (a[i] - layer->a_zero_point) * (1 << 19);
        const int32_t second = (b[i] - layer->b_zero_point) * (1 << 20);
        const int32_t sum = first + ee_requantized(second, layer->b_multiplier, layer->b_shift);
        const int32_t value = ee_requantized(sum, layer->multiplier, layer->shift) + layer->out_zero_point;
        output[i] = ee_clipped(value, layer->low, layer->high);
    }
}

#if defined(EE_DSP)

/* `rounded`: b's shift is not 0. */
EE_INLINE void ee_add_dsp(const ee_sum *layer, const int8_t *a, const int8_t *b, int8_t *output, int rounded) {
    const uint32_t b_multiplier = layer->b_multiplier, multiplier = layer->multiplier;
    const int b_shift = layer->b_shift, shift = layer->shift;
    const int32_t half = (int32_t)(((uint32_t)1 << b_shift) >> 1);
    const int32_t offset = ee_offset(2 * layer->out_zero_point + 1, shift);
    const int32_t a_start = -layer->a_zero_point * (1 << 19), b_start = -layer->b_zero_point * (1 << 20);
    for (const int8_t *end = a + layer->size; a < end;) {
        int32_t second = ee_scaled(*b++ * (1 << 20) + b_start, b_multiplier);
        if (rounded) {
            second = (ee_away(second) + half) >> b_shift;
        }
        *output++ = ee_finished(*a++ * (1 << 19) + a_start + second, multiplier, shift, offset, 0);
    }
}
#endif

void ee_add(const ee_sum *layer, const int8_t *a, const int8_t *b, int8_t *output) {
#if defined(EE_DSP)
    if (layer->fast && layer->b_shift > 0) {
        ee_add_dsp(layer, a, b, output, 1);
        return;
    }
    if (layer->fast) {
        ee_add_dsp(layer, a, b, output, 0);
        return;
    }
#endif
    ee_add_plain(layer, a, b, output);
}

void ee_mean(const ee_pool *layer, const int8_t *input, int8_t *output) {
    const int channels = layer->channels, size = layer->pixels * channels;
    for (int channel = 0; channel < channels; channel++, input++) {
        int32_t sum = -layer->in_zero_point * layer->pixels;
        for (const int8_t *value = input, *end = input + size - channel; value < end; value += channels) {
            sum += *value;
        }
        const int32_t value = ee_requantized(sum, layer->multiplier, layer->shift) + layer->out_zero_point;
        output[channel] = ee_clipped(value, -128, 127);
    }
}
