/* The instructions that ee_kernels.c takes from the DSP extension, in C: tests run the DSP code on any computer. */

static inline int32_t ee_low_half(uint32_t x) {
    return (int16_t)(x & 0xFFFFu);
}

static inline int32_t ee_high_half(uint32_t x) {
    return (int16_t)(x >> 16);
}

static inline uint32_t ee_halves(int32_t low, int32_t high) {
    return ((uint32_t)low & 0xFFFFu) | ((uint32_t)high << 16);
}

static inline uint32_t ee_even(uint32_t bytes) {
    return ee_halves((int8_t)(bytes & 0xFFu), (int8_t)((bytes >> 16) & 0xFFu));
}

static inline uint32_t ee_odd(uint32_t bytes) {
    return ee_even(bytes >> 8);
}

static inline int32_t ee_mac(uint32_t a, uint32_t b, int32_t sum) {
    const uint32_t products = (uint32_t)(ee_low_half(a) * ee_low_half(b)) + (uint32_t)(ee_high_half(a) * ee_high_half(b));
    return (int32_t)((uint32_t)sum + products); /* may wrap around on the way */
}

static inline uint32_t ee_add_even(uint32_t sums, uint32_t bytes) {
    const uint32_t values = ee_even(bytes);
    return ee_halves(ee_low_half(sums) + ee_low_half(values), ee_high_half(sums) + ee_high_half(values));
}

static inline uint32_t ee_add_odd(uint32_t sums, uint32_t bytes) {
    return ee_add_even(sums, bytes >> 8);
}

static inline uint32_t ee_low_high(uint32_t a, uint32_t b) {
    return ee_halves(ee_low_half(a), ee_high_half(b));
}

static inline uint32_t ee_lows(uint32_t a, uint32_t b) {
    return ee_halves(ee_low_half(a), ee_low_half(b));
}

static inline uint32_t ee_highs(uint32_t a, uint32_t b) {
    return ee_halves(ee_high_half(a), ee_high_half(b));
}

static inline int32_t ee_scaled(int32_t x, int32_t multiplier, int32_t offset) {
    return (int32_t)(((int64_t)offset * ((int64_t)1 << 32) + (int64_t)x * multiplier + ((int64_t)1 << 31)) >> 32);
}

static inline int32_t ee_scaled_up(int32_t x, uint32_t multiplier) {
    return ee_scaled(x, (int32_t)multiplier, x);
}

static inline int8_t ee_saturated(int32_t x) {
    return (int8_t)(x < -128 ? -128 : x > 127 ? 127 : x);
}

static inline int8_t ee_summed(int32_t a, int32_t a_line, int32_t b, int32_t b_line, int32_t start) {
    return ee_saturated(ee_scaled(b, b_line, ee_scaled(a, a_line, start)) >> 20);
}

static inline int32_t ee_away(int32_t x) {
    return x + (x >> 31);
}

static inline uint32_t ee_word(const int8_t *bytes) {
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

static inline void ee_quad_any(const ee_quad *quad, int rectified, int bits) {
    const int8_t *at = quad->weights;
    for (int8_t *output = quad->output; output != quad->end; output += 2) {
        int32_t sums[2][4];
        for (int i = 0; i < 8; i++) {
            sums[i / 4][i % 4] = (int32_t)ee_word(at + i / 4 * 4);
        }
        at += 8;
        int upper = 1; /* of four bits: a word serves two steps */
        for (const uint32_t *block = quad->block; block < quad->block_end; block += 4, upper = !upper) {
            const uint32_t word = ee_word(at);
            const uint32_t bytes = bits == 8 ? word : (upper ? word : word << 4) & 0xF0F0F0F0u;
            at += bits == 8 || !upper ? 4 : 0;
            for (int i = 0; i < 8; i++) {
                const uint32_t weights = i < 4 ? ee_even(bytes) : ee_odd(bytes);
                sums[i / 4][i % 4] = ee_mac(block[i % 4], weights, sums[i / 4][i % 4]);
            }
        }
        for (int i = 0; i < 8; i++) {
            const int32_t sum = sums[i / 4][i % 4];
            const int8_t *line = at + i / 4 * (rectified ? 4 : 12);
            const int32_t offset = rectified ? quad->constant
                                             : (int32_t)ee_word(line + 4) - (sum < 0 ? (int32_t)ee_word(line + 8) : 0);
            output[i % 4 * (int)quad->channels + i / 4] =
                ee_saturated(ee_scaled(sum, (int32_t)ee_word(line), offset) >> (rectified ? EE_RECTIFIED_SHIFT : quad->constant));
        }
        at += rectified ? 8 : 24;
    }
}

static inline void ee_quad_rectified(const ee_quad *quad) {
    ee_quad_any(quad, 1, 8);
}

static inline void ee_quad_signed(const ee_quad *quad) {
    ee_quad_any(quad, 0, 8);
}

static inline void ee_quad4_rectified(const ee_quad *quad) {
    ee_quad_any(quad, 1, 4);
}

static inline void ee_quad4_signed(const ee_quad *quad) {
    ee_quad_any(quad, 0, 4);
}

/* `two`: outputs in pairs; `odd`: one more. */
static inline void ee_band_any(const ee_band *band, int two, int odd, int pitch) {
    const int width = (int)(two ? band->span / 2 : band->span / 4) + odd, step = two ? 2 : 4;
    const int8_t *plane = band->plane;
    int8_t *output = band->output;
    for (uint32_t y = 0; y < band->rows; y++, plane += band->span + 4 * (uint32_t)odd + band->skip) {
        for (int x = 0; x < width; x++, output += band->channels) {
            uint32_t sum = 0;
            for (int row = 0; row < 3; row++) {
                int16_t values[3];
                memcpy(values, plane + row * pitch + step * x, sizeof values);
                for (int i = 0; i < 3; i++) {
                    sum += (uint32_t)(values[i] * band->weights[4 + 4 * row + i]);
                }
            }
            sum = ee_word(band->weights) + (sum << band->weights[7]);
            *output = ee_saturated(ee_scaled((int32_t)sum, (int32_t)ee_word(band->weights + 16), band->offset) >>
                                   EE_RECTIFIED_SHIFT);
        }
    }
}

/* Two rows at a time; here one after the other. */
static inline void ee_band_twice_near(const ee_band *band) {
    ee_band rows = *band;
    rows.rows *= 2, rows.skip = EE_NEAR - rows.span;
    ee_band_any(&rows, 1, 0, EE_NEAR);
}

static inline void ee_band_even_near(const ee_band *band) {
    ee_band_any(band, 1, 0, EE_NEAR);
}

static inline void ee_band_even_far(const ee_band *band) {
    ee_band_any(band, 1, 0, EE_FAR);
}

static inline void ee_band_odd_near(const ee_band *band) {
    ee_band_any(band, 1, 1, EE_NEAR);
}

static inline void ee_band_odd_far(const ee_band *band) {
    ee_band_any(band, 1, 1, EE_FAR);
}

static inline void ee_band_doubled_near(const ee_band *band) {
    ee_band_any(band, 0, 0, EE_NEAR);
}

static inline void ee_band_halved_near(const ee_band *band) {
    ee_band_any(band, 0, 0, EE_NEAR);
}

static inline void ee_band_halved_far(const ee_band *band) {
    ee_band_any(band, 0, 0, EE_FAR);
}

static inline void ee_split_rows(const ee_split *split) {
    const int8_t *from = split->from;
    int8_t *to = split->to;
    const uint32_t planes[4] = {0, split->second, split->third, split->fourth};
    for (uint32_t y = 0; y < split->rows; y++, to += split->rest) {
        for (uint32_t x = 0; x < 2 * split->pairs; x++, from += split->channels, to += 2) {
            for (int i = 0; i < 4; i++) {
                to[planes[i]] = 0, to[planes[i] + 1] = from[i];
            }
        }
    }
}

static inline void ee_widen_fours(const int8_t *rows, int depth, uint32_t *block, int groups) {
    for (int i = 0; i < groups; i++, block += 8) {
        for (int pixel = 0; pixel < 4; pixel++) {
            const int8_t *x = rows + pixel * depth + 4 * i;
            block[pixel] = ee_halves(x[0] * 256, x[2] * 256);
            block[4 + pixel] = ee_halves(x[1] * 256, x[3] * 256);
        }
    }
}
