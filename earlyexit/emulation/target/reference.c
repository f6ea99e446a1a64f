/*
 * Loops with the structure of TensorFlow Lite Micro's reference kernels: one output at a time, a bounds check for every
 * weight's position, addresses from shapes, the input's zero point added in the innermost loop, two roundings. Written
 * anew, since no package with TensorFlow Lite Micro's sources was found.
 */

#include <stdint.h>

typedef struct {
    int32_t dims[4]; /* batches, rows, columns, channels */
} shape;

typedef struct {
    shape input, filter, output;
    int32_t stride_y, stride_x, dilation_y, dilation_x, pad_y, pad_x;
    int32_t input_offset, output_offset, low, high;
    const int8_t *weights; /* depthwise: rows, columns, channels */
    const int32_t *bias, *multipliers, *shifts;
} window;

typedef struct {
    shape shape;
    int32_t a_offset, b_offset, output_offset, left_shift;
    int32_t a_multiplier, a_shift, b_multiplier, b_shift, multiplier, shift, low, high;
} sum;

typedef struct {
    shape input;
    int32_t input_offset, output_offset, multiplier, shift;
} pool;

static inline int at(const shape *in, int batch, int y, int x, int channel)
{
    const int32_t *dims = in->dims;

    return ((batch * dims[1] + y) * dims[2] + x) * dims[3] + channel;
}

static inline int32_t clipped(int32_t value, int32_t low, int32_t high)
{
    value = value > low ? value : low;
    return value < high ? value : high;
}

/* Twice the upper half of the product, rounded. */
static inline int32_t high_product(int32_t a, int32_t b)
{
    const int64_t product = (int64_t)a * b;
    const int32_t nudge = product >= 0 ? 1 << 30 : 1 - (1 << 30);

    return a == b && a == INT32_MIN ? INT32_MAX : (int32_t)((product + nudge) / ((int64_t)1 << 31));
}

static inline int32_t scaled(int32_t value, int32_t multiplier, int shift)
{
    const int left = shift > 0 ? shift : 0, right = shift > 0 ? 0 : -shift;
    const int32_t high = high_product((int32_t)((uint32_t)value << left), multiplier);
    const int32_t mask = (int32_t)(((int64_t)1 << right) - 1), threshold = (mask >> 1) + (high < 0);

    return (high >> right) + ((high & mask) > threshold);
}

void reference_convolution(const window *layer, const int8_t *input, int8_t *output)
{
    const int depth = layer->filter.dims[3];
    const int groups = layer->input.dims[3] / depth, per_group = layer->output.dims[3] / groups;

    for (int batch = 0; batch < layer->output.dims[0]; batch++) {
        for (int y = 0; y < layer->output.dims[1]; y++) {
            for (int x = 0; x < layer->output.dims[2]; x++) {
                for (int channel = 0; channel < layer->output.dims[3]; channel++) {
                    const int group = channel / per_group;
                    int32_t total = 0;
                    for (int row = 0; row < layer->filter.dims[1]; row++) {
                        const int in_y = y * layer->stride_y - layer->pad_y + layer->dilation_y * row;
                        for (int column = 0; column < layer->filter.dims[2]; column++) {
                            const int in_x = x * layer->stride_x - layer->pad_x + layer->dilation_x * column;
                            if (in_x < 0 || in_x >= layer->input.dims[2] || in_y < 0 || in_y >= layer->input.dims[1]) {
                                continue;
                            }
                            for (int i = 0; i < depth; i++) {
                                const int32_t value = input[at(&layer->input, batch, in_y, in_x, i + group * depth)];
                                const int32_t weight = layer->weights[at(&layer->filter, channel, row, column, i)];
                                total += weight * (value + layer->input_offset);
                            }
                        }
                    }
                    total = scaled(total + layer->bias[channel], layer->multipliers[channel], layer->shifts[channel]);
                    output[at(&layer->output, batch, y, x, channel)] =
                        (int8_t)clipped(total + layer->output_offset, layer->low, layer->high);
                }
            }
        }
    }
}

void reference_depthwise(const window *layer, const int8_t *input, int8_t *output)
{
    for (int batch = 0; batch < layer->output.dims[0]; batch++) {
        for (int y = 0; y < layer->output.dims[1]; y++) {
            for (int x = 0; x < layer->output.dims[2]; x++) {
                for (int channel = 0; channel < layer->input.dims[3]; channel++) {
                    int32_t total = 0;
                    for (int row = 0; row < layer->filter.dims[1]; row++) {
                        for (int column = 0; column < layer->filter.dims[2]; column++) {
                            const int in_y = y * layer->stride_y - layer->pad_y + layer->dilation_y * row;
                            const int in_x = x * layer->stride_x - layer->pad_x + layer->dilation_x * column;
                            if (in_x >= 0 && in_x < layer->input.dims[2] && in_y >= 0 && in_y < layer->input.dims[1]) {
                                const int32_t value = input[at(&layer->input, batch, in_y, in_x, channel)];
                                const int32_t weight = layer->weights[at(&layer->filter, 0, row, column, channel)];
                                total += weight * (value + layer->input_offset);
                            }
                        }
                    }
                    total = scaled(total + layer->bias[channel], layer->multipliers[channel], layer->shifts[channel]);
                    output[at(&layer->output, batch, y, x, channel)] =
                        (int8_t)clipped(total + layer->output_offset, layer->low, layer->high);
                }
            }
        }
    }
}

void reference_dense(const window *layer, const int8_t *input, int8_t *output)
{
    const int depth = layer->filter.dims[3];

    for (int channel = 0; channel < layer->output.dims[3]; channel++) {
        int32_t total = 0;
        for (int i = 0; i < depth; i++) {
            total += layer->weights[channel * depth + i] * (input[i] + layer->input_offset);
        }
        total = scaled(total + layer->bias[channel], layer->multipliers[channel], layer->shifts[channel]);
        output[channel] = (int8_t)clipped(total + layer->output_offset, layer->low, layer->high);
    }
}

void reference_add(const sum *layer, const int8_t *a, const int8_t *b, int8_t *output)
{
    const int size = layer->shape.dims[1] * layer->shape.dims[2] * layer->shape.dims[3];

    for (int i = 0; i < size; i++) {
        const int32_t first = (layer->a_offset + a[i]) * (1 << layer->left_shift);
        const int32_t second = (layer->b_offset + b[i]) * (1 << layer->left_shift);
        const int32_t total = scaled(first, layer->a_multiplier, layer->a_shift) +
                              scaled(second, layer->b_multiplier, layer->b_shift);
        const int32_t value = scaled(total, layer->multiplier, layer->shift) + layer->output_offset;
        output[i] = (int8_t)clipped(value, layer->low, layer->high);
    }
}

void reference_mean(const pool *layer, const int8_t *input, int8_t *output)
{
    for (int channel = 0; channel < layer->input.dims[3]; channel++) {
        int32_t total = 0;
        for (int y = 0; y < layer->input.dims[1]; y++) {
            for (int x = 0; x < layer->input.dims[2]; x++) {
                total += input[at(&layer->input, 0, y, x, channel)] + layer->input_offset;
            }
        }
        total = scaled(total, layer->multiplier, layer->shift) + layer->output_offset;
        output[channel] = (int8_t)clipped(total, -128, 127);
    }
}
