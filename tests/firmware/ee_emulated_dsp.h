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
    return sum + ee_low_half(a) * ee_low_half(b) + ee_high_half(a) * ee_high_half(b);
}

static inline int32_t ee_mac_low_high(uint32_t a, uint32_t b, int32_t sum) {
    return sum + ee_low_half(a) * ee_high_half(b);
}

static inline int32_t ee_mac_high_low(uint32_t a, uint32_t b, int32_t sum) {
    return sum + ee_high_half(a) * ee_low_half(b);
}

static inline uint32_t ee_lows(uint32_t a, uint32_t b) {
    return ee_halves(ee_low_half(a), ee_low_half(b));
}

static inline uint32_t ee_highs(uint32_t a, uint32_t b) {
    return ee_halves(ee_high_half(a), ee_high_half(b));
}

static inline int32_t ee_scaled(int32_t x, uint32_t multiplier) {
    return (int32_t)(((int64_t)x * ((int64_t)1 << 32) + (int64_t)x * (int32_t)multiplier + ((int64_t)1 << 31)) >> 32);
}

static inline int8_t ee_saturated(int32_t x) {
    return (int8_t)(x < -128 ? -128 : x > 127 ? 127 : x);
}

static inline void ee_dot4(const int8_t *weights, const uint32_t *block, int groups, int32_t sums[4]) {
    for (; groups > 0; groups--, weights += 4, block += 8) {
        uint32_t bytes;
        memcpy(&bytes, weights, sizeof bytes);
        for (int pixel = 0; pixel < 4; pixel++) {
            sums[pixel] = ee_mac(block[pixel], ee_even(bytes), sums[pixel]);
            sums[pixel] = ee_mac(block[4 + pixel], ee_odd(bytes), sums[pixel]);
        }
    }
}

static inline void ee_window_pair(const uint32_t *at[3], const uint32_t weights[7], int32_t sums[2]) {
    sums[0] = sums[1] = (int32_t)weights[6];
    for (int row = 0; row < 3; row++) {
        const uint32_t x = at[row][0], y = at[row][1], a = weights[2 * row], b = weights[2 * row + 1];
        sums[0] = ee_mac_low_high(y, b, ee_mac(x, a, sums[0]));
        sums[1] = ee_mac(y, b, ee_mac_high_low(x, a, sums[1]));
        at[row]++;
    }
}

static inline int32_t ee_window_single(const uint32_t *at[3], const uint32_t weights[7]) {
    int32_t sum = (int32_t)weights[6];
    for (int row = 0; row < 3; row++) {
        sum = ee_mac_low_high(at[row][1], weights[2 * row + 1], ee_mac(at[row][0], weights[2 * row], sum));
        at[row]++;
    }
    return sum;
}

static inline int32_t ee_away(int32_t x) {
    return x + (x >> 31);
}
