/* See ee_kernels.h. Tests check every kernel against TensorFlow Lite Micro, with and without the DSP code. */
#include "ee_kernels.h"

#include <stddef.h>
#include <string.h>

/* Right shifts of negative numbers must keep the sign; C leaves that to the compiler. */
typedef char ee_arithmetic_shift_needed[(-1 >> 1) == -1 ? 1 : -1];

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

/* Four pixels, and what becomes of them; see ee_quad_rectified. */
typedef struct {
    const uint32_t *block, *block_end;
    int8_t *output;
    uint32_t channels; /* bytes from pixel to pixel of the output */
    int8_t *end;       /* of the first pixel's outputs */
    uint32_t begin;    /* steps of the first round; of four bits: pairs of steps */
    int32_t constant;  /* rectified: the offset; signed: the shift */
    const int8_t *weights;
} ee_quad;

/* A channel's rows in scratch memory, and what becomes of them; see ee_band_even_near. */
typedef struct {
    int32_t offset;
    uint32_t span, skip; /* bytes that a row of output goes on, and from its end to the next one's begin */
    uint32_t rows;       /* ee_band_twice_near: half of them */
    const int8_t *weights;
    const int8_t *plane;
    int8_t *output;
    uint32_t channels, line; /* bytes from pixel to pixel and from row to row of the output */
} ee_band;

/* Rows of pixels in pairs, of which four channels become four planes of 16-bit numbers. */
typedef struct {
    const int8_t *from;
    int8_t *to;
    uint32_t pairs, rows;             /* neither of them 0 */
    uint32_t channels;                /* bytes from pixel to pixel */
    uint32_t second, third, fourth;   /* bytes from the first plane to the others */
    uint32_t rest;                    /* bytes from the end of a plane's row to the next one's begin */
} ee_split;

/* Bytes of a row in scratch memory of the depthwise DSP code: constants, so that one pointer serves three rows. */
#define EE_NEAR 112
#define EE_FAR 508

#if defined(EE_EMULATE_DSP)
#define EE_DSP 1
#include "ee_emulated_dsp.h"
#elif defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && defined(__GNUC__)
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

/* Bytes 0 and 2, or 1 and 3, added to two 16-bit numbers. */
static inline uint32_t ee_add_even(uint32_t sums, uint32_t bytes) {
    uint32_t halves;
    __asm__("sxtab16 %0, %1, %2" : "=r"(halves) : "r"(sums), "r"(bytes));
    return halves;
}

static inline uint32_t ee_add_odd(uint32_t sums, uint32_t bytes) {
    uint32_t halves;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(halves) : "r"(sums), "r"(bytes));
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

/* a's lower half below b's upper half. */
static inline uint32_t ee_low_high(uint32_t a, uint32_t b) {
    uint32_t halves;
    __asm__("pkhtb %0, %1, %2" : "=r"(halves) : "r"(b), "r"(a));
    return halves;
}

/* The upper halves of a and b, a's below. */
static inline uint32_t ee_highs(uint32_t a, uint32_t b) {
    uint32_t halves;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(halves) : "r"(b), "r"(a));
    return halves;
}

/* round(x * multiplier / 2^32) + offset, halves up; the multiplier is less than 2^31. */
static inline int32_t ee_scaled(int32_t x, int32_t multiplier, int32_t offset) {
    int32_t result;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(result) : "r"(x), "r"(multiplier), "r"(offset));
    return result;
}

/*
 * round(x * multiplier / 2^32), halves up, the multiplier 2^31 or more: the instruction takes it for one that is smaller
 * by 2^32, and adds x for the difference.
 */
static inline int32_t ee_scaled_up(int32_t x, uint32_t multiplier) {
    return ee_scaled(x, (int32_t)multiplier, x);
}

static inline int8_t ee_saturated(int32_t x) {
    int32_t result;
    __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(x));
    return (int8_t)result;
}

/* A sum by lines; see ee_sum. */
static inline int8_t ee_summed(int32_t a, int32_t a_line, int32_t b, int32_t b_line, int32_t start) {
    int32_t result;
    __asm__("ssat %0, #8, %1, asr #20" : "=r"(result) : "r"(ee_scaled(b, b_line, ee_scaled(a, a_line, start))));
    return (int8_t)result;
}

/* x, less 1 if it is negative: with half a step added, halves then round away from zero. */
static inline int32_t ee_away(int32_t x) {
    int32_t result;
    __asm__("add %0, %1, %1, asr #31" : "=r"(result) : "r"(x));
    return result;
}

/*
 * Functions that are assembly throughout: they need all registers, sp and pc excepted, and loads in groups, of which each
 * but the first takes one cycle. Arguments are in r0 to r3; C does not see them used.
 */
#define EE_UNNAMED __attribute__((unused))
#define EE_ASSEMBLY static __attribute__((naked, noinline)) void

/*
 * A step: two inputs of four pixels times the weights of channels a and b. r0 weights, r1 block, r2-r5 a's sums, r6-r9
 * b's, r10 and r11 weights, r12 and lr pixels. Each instruction has 4 bytes, as ee_quad's first round needs.
 */
#define EE_LOADS(weights) weights "ldr.w lr, [r1, #4]\n ldr.w r12, [r1], #16\n"
#define EE_PRODUCTS                                                                                                    \
    "sxtb16 r11, r10\n sxtb16 r10, r10, ror #8\n"                                                                      \
    "smlad r2, r12, r11, r2\n smlad r6, r12, r10, r6\n smlad r3, lr, r11, r3\n smlad r7, lr, r10, r7\n"                \
    "ldr r12, [r1, #-8]\n ldr lr, [r1, #-4]\n"                                                                         \
    "smlad r4, r12, r11, r4\n smlad r8, r12, r10, r8\n smlad r5, lr, r11, r5\n smlad r9, lr, r10, r9\n"
/* The first step adds to the starts, in r5 and r9. */
#define EE_STARTS "ldr.w r5, [r0], #4\n ldr.w r9, [r0], #4\n"
#define EE_FIRST_PRODUCTS                                                                                              \
    "sxtb16 r11, r10\n sxtb16 r10, r10, ror #8\n"                                                                      \
    "smlad r2, r12, r11, r5\n smlad r6, r12, r10, r9\n smlad r3, lr, r11, r5\n smlad r7, lr, r10, r9\n"                \
    "ldr r12, [r1, #-8]\n ldr lr, [r1, #-4]\n"                                                                         \
    "smlad r4, r12, r11, r5\n smlad r8, r12, r10, r9\n smlad r5, lr, r11, r5\n smlad r9, lr, r10, r9\n"
/* Weights of eight bits: those of a step are a word. */
#define EE_STEP EE_LOADS("ldr.w r10, [r0], #4\n") EE_PRODUCTS
#define EE_STEP_BYTES "60"
#define EE_STEPS EE_STEP EE_STEP EE_STEP EE_STEP EE_STEP EE_STEP EE_STEP EE_STEP
#define EE_FIRST_STEP EE_STARTS EE_LOADS("ldr.w r10, [r0], #4\n") EE_FIRST_PRODUCTS
/* Of four bits: those of two steps are the upper and the lower halves of a word's bytes. No register keeps the word. */
#define EE_UPPERS EE_LOADS("ldr.w r10, [r0]\n") "and r10, r10, #0xF0F0F0F0\n"
#define EE_LOWERS EE_LOADS("ldr.w r10, [r0], #4\n") "lsl.w r10, r10, #4\n and r10, r10, #0xF0F0F0F0\n"
#define EE_TWO_STEPS EE_UPPERS EE_PRODUCTS EE_LOWERS EE_PRODUCTS
#define EE_TWO_STEPS_BYTES "132"
#define EE_STEPS4 EE_TWO_STEPS EE_TWO_STEPS EE_TWO_STEPS EE_TWO_STEPS
#define EE_FIRST_STEPS4 EE_STARTS EE_UPPERS EE_FIRST_PRODUCTS EE_LOWERS EE_PRODUCTS
/*
 * On the stack: 0 block, 4 its end, 8 output, 12 channels, 16 the output's end, 20 where the first round of steps begins,
 * 24 the constant. `finish` turns sums into outputs and loads channels into lr, output into r1.
 */
#define EE_QUAD(first, steps, bytes, finish)                                                                           \
    __asm__("push {r4-r11, lr}\n sub sp, #28\n ldm r0, {r1-r8}\n"                                                      \
            "adr.w r9, 2f\n mov r10, #" bytes "\n mls r9, r6, r10, r9\n orr r6, r9, #1\n"                              \
            "stm sp, {r1-r7}\n mov r0, r8\n"                                                                           \
            "1:\n" first "ldr.w pc, [sp, #20]\n"                                                                       \
            "3:\n" steps steps                                                                                         \
            "2: ldr r10, [sp, #4]\n cmp r1, r10\n bne.w 3b\n" finish                                                   \
            "add r10, r1, lr\n add r11, r10, lr\n add r12, r11, lr\n"                                                  \
            "strb r2, [r1]\n strb r6, [r1, #1]\n strb.w r3, [r10]\n strb.w r7, [r10, #1]\n"                            \
            "strb.w r4, [r11]\n strb.w r8, [r11, #1]\n strb.w r5, [r12]\n strb.w r9, [r12, #1]\n"                      \
            "add.w lr, r1, #2\n ldr r10, [sp, #16]\n ldr r1, [sp]\n str.w lr, [sp, #8]\n cmp lr, r10\n bne.w 1b\n"     \
            "add sp, #28\n pop {r4-r11, pc}\n")

#define EE_RECTIFY(sum, multiplier) "smmlar " sum ", " sum ", " multiplier ", r12\n"
#define EE_SSAT(sum) "ssat " sum ", #8, " sum ", asr #12\n"
#define EE_RECTIFIED                                                                                                   \
    "ldr.w r10, [r0], #4\n ldr.w r11, [r0], #4\n ldr.w r12, [sp, #24]\n ldr.w lr, [sp, #12]\n ldr r1, [sp, #8]\n"      \
    EE_RECTIFY("r2", "r10") EE_RECTIFY("r3", "r10") EE_RECTIFY("r4", "r10") EE_RECTIFY("r5", "r10")                    \
    EE_RECTIFY("r6", "r11") EE_RECTIFY("r7", "r11") EE_RECTIFY("r8", "r11") EE_RECTIFY("r9", "r11")                    \
    EE_SSAT("r2") EE_SSAT("r3") EE_SSAT("r4") EE_SSAT("r5") EE_SSAT("r6") EE_SSAT("r7") EE_SSAT("r8") EE_SSAT("r9")
#define EE_SIGN(sum)                                                                                                   \
    "and lr, r12, " sum ", asr #31\n sub lr, r11, lr\n smmlar " sum ", " sum ", r10, lr\n"                             \
    "asr.w " sum ", " sum ", r1\n ssat " sum ", #8, " sum "\n"
#define EE_SIGN_LOAD "ldr.w r10, [r0], #4\n ldr.w r11, [r0], #4\n ldr.w r12, [r0], #4\n"
#define EE_SIGNED                                                                                                      \
    EE_SIGN_LOAD "ldr r1, [sp, #24]\n" EE_SIGN("r2") EE_SIGN("r3") EE_SIGN("r4") EE_SIGN("r5")                         \
    EE_SIGN_LOAD EE_SIGN("r6") EE_SIGN("r7") EE_SIGN("r8") EE_SIGN("r9") "ldr.w lr, [sp, #12]\n ldr r1, [sp, #8]\n"

/*
 * Outputs of four pixels, channels in twos. The block has for each two inputs a word of each pixel; the weights' order
 * decides which two: bytes 0 and 2 of four, then 1 and 3.
 */
EE_ASSEMBLY ee_quad_rectified(const ee_quad *quad EE_UNNAMED) {
    EE_QUAD(EE_FIRST_STEP, EE_STEPS, EE_STEP_BYTES, EE_RECTIFIED);
}

EE_ASSEMBLY ee_quad_signed(const ee_quad *quad EE_UNNAMED) {
    EE_QUAD(EE_FIRST_STEP, EE_STEPS, EE_STEP_BYTES, EE_SIGNED);
}

/* The same with weights of four bits. */
EE_ASSEMBLY ee_quad4_rectified(const ee_quad *quad EE_UNNAMED) {
    EE_QUAD(EE_FIRST_STEPS4, EE_STEPS4, EE_TWO_STEPS_BYTES, EE_RECTIFIED);
}

EE_ASSEMBLY ee_quad4_signed(const ee_quad *quad EE_UNNAMED) {
    EE_QUAD(EE_FIRST_STEPS4, EE_STEPS4, EE_TWO_STEPS_BYTES, EE_SIGNED);
}

/*
 * Rows of a 3x3 window's output, from pairs of values in r10 and r11. r0 plane, r1 output, r2-r7 weights: (w0, w1) and
 * (w1, w2) of each row, r8 and r9 sums, r12 channels, lr the plane's end. On the stack: 0 multiplier, 4 offset, 8 start,
 * 12 span, 16 skip, 20 rows, 24 where a row begins, 28 channels, 32 line, 36 the plane's end.
 */
#define EE_TWO(a, b, left, right)                                                                                      \
    "smlad " left ", r10, " a ", " left "\n smlatb " right ", r10, " a ", " right "\n"                                 \
    "smlabt " left ", r11, " b ", " left "\n smlad " right ", r11, " b ", " right "\n"
#define EE_ONE(a, b) "smlad r8, r10, " a ", r8\n smlabt r8, r11, " b ", r8\n"
#define EE_VALUES(row) "ldrd r10, r11, [r0, #" row "]\n"
#define EE_BEGIN(start) "ldr.w " start ", [sp, #8]\n ldr.w r10, [r0]\n ldr.w r11, [r0, #4]\n"
#define EE_LINE(sum) "smmlar " sum ", " sum ", r10, r11\n ssat " sum ", #8, " sum ", asr #12\n"
#define EE_PAIR(second, third)                                                                                         \
    EE_BEGIN("r8") "smlatb r9, r10, r2, r8\n smlad r8, r10, r2, r8\n smlabt r8, r11, r3, r8\n smlad r9, r11, r3, r9\n" \
    EE_VALUES(second) EE_TWO("r4", "r5", "r8", "r9") EE_VALUES(third) EE_TWO("r6", "r7", "r8", "r9")                   \
    "ldrd r10, r11, [sp]\n add r0, #4\n" EE_LINE("r8") EE_LINE("r9")                                                   \
    "strb.w r8, [r1]\n strb.w r9, [r1, r12]\n add r1, r1, r12, lsl #1\n"
#define EE_SINGLE(second, third)                                                                                       \
    EE_BEGIN("r8") EE_ONE("r2", "r3") EE_VALUES(second) EE_ONE("r4", "r5") EE_VALUES(third) EE_ONE("r6", "r7")         \
    "ldrd r10, r11, [sp]\n add r0, #4\n" EE_LINE("r8") "strb.w r8, [r1]\n add r1, r12\n"
/* Two outputs of stride 2, with a third word of values in r12. */
#define EE_WORDS(a, b, c) "ldr.w r10, [r0, #" a "]\n ldr.w r11, [r0, #" b "]\n ldr.w r12, [r0, #" c "]\n"
#define EE_BOTH(a, b, left, right)                                                                                     \
    "smlad r8, r10, " a ", " left "\n smlad r9, r11, " a ", " right "\n"                                               \
    "smlabt r8, r11, " b ", r8\n smlabt r9, r12, " b ", r9\n"
#define EE_DOUBLE                                                                                                      \
    "ldr.w r9, [sp, #8]\n" EE_WORDS("0", "4", "8") EE_BOTH("r2", "r3", "r9", "r9")                                     \
    EE_WORDS("112", "116", "120") EE_BOTH("r4", "r5", "r8", "r9")                                                      \
    EE_WORDS("224", "228", "232") EE_BOTH("r6", "r7", "r8", "r9")                                                      \
    "ldr.w r10, [sp]\n ldr.w r11, [sp, #4]\n ldr.w r12, [sp, #28]\n add r0, #8\n" EE_LINE("r8") EE_LINE("r9")          \
    "strb.w r8, [r1]\n strb.w r9, [r1, r12]\n add r1, r1, r12, lsl #1\n"
/* Two rows of output; r12 and lr are the lower one's sums. */
#define EE_TWICE(second, third, fourth)                                                                                \
    EE_BEGIN("lr") "smlad r8, r10, r2, lr\n smlatb r9, r10, r2, lr\n smlabt r8, r11, r3, r8\n smlad r9, r11, r3, r9\n" \
    EE_VALUES(second) EE_TWO("r4", "r5", "r8", "r9")                                                                   \
    "smlad r12, r10, r2, lr\n smlatb lr, r10, r2, lr\n smlabt r12, r11, r3, r12\n smlad lr, r11, r3, lr\n"             \
    EE_VALUES(third) EE_TWO("r6", "r7", "r8", "r9") EE_TWO("r4", "r5", "r12", "lr")                                    \
    EE_VALUES(fourth) EE_TWO("r6", "r7", "r12", "lr")                                                                  \
    "ldrd r10, r11, [sp]\n add r0, #4\n" EE_LINE("r8") EE_LINE("r9") EE_LINE("r12") EE_LINE("lr")                      \
    "ldr.w r10, [sp, #28]\n ldr.w r11, [sp, #32]\n strb.w r8, [r1]\n strb.w r9, [r1, r10]\n strb.w r12, [r1, r11]\n"   \
    "add r11, r10\n strb.w lr, [r1, r11]\n add r1, r1, r10, lsl #1\n"
/* Weights moved up by the bits that r8 has as a power of two. */
#define EE_UP(halves) "smulbb r10, " halves ", r8\n smultb r11, " halves ", r8\n pkhbt " halves ", r10, r11, lsl #16\n"
/*
 * A band. `one` is the code of a step along the row. It stands there twice: a row begins at the first, or, where its span
 * has the bit `once`, which makes the number of steps odd, at the second. `next` closes the row.
 */
#define EE_ROWS(one, next, once)                                                                                       \
    __asm__("push {r4-r11, lr}\n sub sp, #44\n ldm r0, {r1-r9}\n"                                                      \
            "adr.w r10, 2f\n adr.w r11, 3f\n tst r2, #" once "\n it ne\n movne r10, r11\n orr r10, r10, #1\n"          \
            "add r11, r6, r2\n str r1, [sp, #4]\n str r2, [sp, #12]\n str r3, [sp, #16]\n str r4, [sp, #20]\n"         \
            "str.w r10, [sp, #24]\n str.w r8, [sp, #28]\n str.w r9, [sp, #32]\n str.w r11, [sp, #36]\n"                \
            "mov r0, r6\n mov r1, r7\n mov r12, r8\n mov lr, r11\n"                                                    \
            "ldr.w r8, [r5]\n ldr.w r9, [r5, #16]\n ldr.w r10, [r5, #4]\n ldr.w r11, [r5, #8]\n"                       \
            "str.w r8, [sp, #8]\n str.w r9, [sp]\n ldr.w r8, [r5, #12]\n lsrs r9, r10, #24\n"                          \
            "sxtb16 r4, r10\n sxtb16 r5, r10, ror #8\n pkhbt r2, r4, r5, lsl #16\n pkhtb r3, r4, r5\n"                 \
            "sxtb16 r6, r11\n sxtb16 r7, r11, ror #8\n pkhbt r4, r6, r7, lsl #16\n pkhtb r5, r6, r7\n"                 \
            "sxtb16 r10, r8\n sxtb16 r11, r8, ror #8\n pkhbt r6, r10, r11, lsl #16\n pkhtb r7, r10, r11\n"             \
            "beq.w 1f\n mov r8, #1\n lsl r8, r8, r9\n" EE_UP("r2") EE_UP("r3") EE_UP("r4") EE_UP("r5") EE_UP("r6")     \
            EE_UP("r7") "1: ldr.w pc, [sp, #24]\n"                                                                     \
            "2:\n" one "3:\n" one next                                                                                 \
            "it ne\n ldrne.w pc, [sp, #24]\n add sp, #44\n pop {r4-r11, pc}\n")
#define EE_NEXT(rest)                                                                                                  \
    "cmp r0, lr\n bne.w 2b\n" rest "ldr.w r10, [sp, #16]\n ldr.w r11, [sp, #20]\n ldr.w lr, [sp, #12]\n"               \
    "add r0, r10\n add lr, r0\n subs r11, #1\n str.w r11, [sp, #20]\n"
#define EE_NEXT_TWO                                                                                                    \
    "ldr.w r10, [sp, #36]\n cmp r0, r10\n bne.w 2b\n"                                                                  \
    "ldr.w r8, [sp, #16]\n ldr.w r9, [sp, #20]\n ldr.w r10, [sp, #32]\n ldr.w r11, [sp, #12]\n"                        \
    "add r0, r8\n add r1, r10\n add r11, r0\n subs r9, #1\n str.w r9, [sp, #20]\n str.w r11, [sp, #36]\n"

EE_ASSEMBLY ee_band_twice_near(const ee_band *band EE_UNNAMED) {
    EE_ROWS(EE_TWICE("112", "224", "336"), EE_NEXT_TWO, "4");
}

EE_ASSEMBLY ee_band_even_near(const ee_band *band EE_UNNAMED) {
    EE_ROWS(EE_PAIR("112", "224"), EE_NEXT(""), "4");
}

EE_ASSEMBLY ee_band_even_far(const ee_band *band EE_UNNAMED) {
    EE_ROWS(EE_PAIR("508", "1016"), EE_NEXT(""), "4");
}

EE_ASSEMBLY ee_band_odd_near(const ee_band *band EE_UNNAMED) {
    EE_ROWS(EE_PAIR("112", "224"), EE_NEXT(EE_SINGLE("112", "224")), "4");
}

EE_ASSEMBLY ee_band_odd_far(const ee_band *band EE_UNNAMED) {
    EE_ROWS(EE_PAIR("508", "1016"), EE_NEXT(EE_SINGLE("508", "1016")), "4");
}

EE_ASSEMBLY ee_band_doubled_near(const ee_band *band EE_UNNAMED) {
    EE_ROWS(EE_DOUBLE, EE_NEXT(""), "8");
}

EE_ASSEMBLY ee_band_halved_near(const ee_band *band EE_UNNAMED) {
    EE_ROWS(EE_SINGLE("112", "224"), EE_NEXT(""), "4");
}

EE_ASSEMBLY ee_band_halved_far(const ee_band *band EE_UNNAMED) {
    EE_ROWS(EE_SINGLE("508", "1016"), EE_NEXT(""), "4");
}

/* r0 from, r1 to, r2 pairs, r3 rows, r4 channels, r5-r7 other planes, r8 rest, r9 mask, lr pairs left. */
EE_ASSEMBLY ee_split_rows(const ee_split *split EE_UNNAMED) {
#define EE_SPLIT                                                                                                       \
    "ldr.w r10, [r0]\n ldr.w r11, [r0, r4]\n add r0, r0, r4, lsl #1\n"                                                 \
    "pkhbt r12, r10, r11, lsl #16\n pkhtb r11, r11, r10, asr #16\n"                                                    \
    "and r10, r9, r12, lsl #8\n and r12, r9, r12\n str.w r12, [r1, r5]\n"                                              \
    "and r12, r9, r11, lsl #8\n and r11, r9, r11\n str.w r12, [r1, r6]\n str.w r11, [r1, r7]\n str.w r10, [r1], #4\n"
    __asm__("push {r4-r11, lr}\n ldm r0, {r0-r8}\n mov r9, #0xFF00FF00\n"
            "1: mov lr, r2\n lsls r10, r2, #31\n bne.w 3f\n"
            "2:\n" EE_SPLIT "3:\n" EE_SPLIT "subs lr, #2\n bgt.w 2b\n"
            "add r1, r8\n subs r3, #1\n bne.w 1b\n pop {r4-r11, pc}\n");
#undef EE_SPLIT
}

/* Widen four rows, `depth` bytes from one to the next, to so many groups of a block. r6 mask, r7-r10 bytes. */
EE_ASSEMBLY ee_widen_fours(const int8_t *rows EE_UNNAMED, int depth EE_UNNAMED, uint32_t *block EE_UNNAMED,
                           int groups EE_UNNAMED) {
#define EE_GROUP                                                                                                       \
    "ldr.w r7, [r0], #4\n ldr.w r8, [r1], #4\n ldr.w r9, [r4], #4\n ldr.w r10, [r5], #4\n"                             \
    "and r11, r6, r7, lsl #8\n and r12, r6, r8, lsl #8\n and r7, r6\n and r8, r6\n"                                    \
    "str.w r11, [r2]\n str.w r12, [r2, #4]\n str.w r7, [r2, #16]\n str.w r8, [r2, #20]\n"                              \
    "and r11, r6, r9, lsl #8\n and r12, r6, r10, lsl #8\n and r9, r6\n and r10, r6\n"                                  \
    "str.w r11, [r2, #8]\n str.w r12, [r2, #12]\n str.w r9, [r2, #24]\n str.w r10, [r2, #28]\n add r2, #32\n"
    __asm__("push {r4-r11, lr}\n add lr, r0, r1\n add r4, lr, r1\n add r5, r4, r1\n mov r1, lr\n mov r6, #0xFF00FF00\n"
            "lsls r7, r3, #31\n bne.w 2f\n1:\n" EE_GROUP "2:\n" EE_GROUP "subs r3, #2\n bgt.w 1b\n pop {r4-r11, pc}\n");
#undef EE_GROUP
}
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

static int8_t ee_exact_output(const ee_window *layer, const ee_exact *exact, int32_t sum) {
    const int32_t whole = (int32_t)((uint32_t)sum + (uint32_t)exact->bias);
    const int32_t value = ee_requantized(whole, exact->multiplier, exact->shift);
    /* Unsigned, since the output of a left shift may be anything. */
    const int32_t moved = (int32_t)((uint32_t)value + (uint32_t)layer->out_zero_point);
    return ee_clipped(moved, layer->low, layer->high);
}

/* Sum to output by the line, in ordinary C. `line` is where the multiplier lies, with offset and step behind. */
static int8_t ee_line_output(const ee_window *layer, const int8_t *line, int32_t sum) {
    int32_t offset = layer->offset;
    if (!layer->rectified) {
        offset = (int32_t)ee_load(line + 4) - (sum < 0 ? (int32_t)ee_load(line + 8) : 0);
    }
    const int64_t product = (int64_t)sum * (int32_t)ee_load(line) + ((int64_t)1 << 31);
    return ee_clipped(((int32_t)(product >> 32) + offset) >> layer->shift, layer->low, layer->high);
}

/* Bytes of multiplier, offset and step. */
static int ee_line_bytes(const ee_window *layer) {
    return layer->rectified ? 4 : 12;
}

static size_t ee_out_size(const ee_window *layer) {
    return (size_t)layer->out_height * layer->out_width * layer->out_channels;
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

/* Inputs of a window, in fours. */
static int ee_groups(const ee_window *layer) {
    return (layer->kernel_height * layer->kernel_width * layer->in_channels + 3) >> 2;
}

/* Bytes of two output channels. */
static int ee_pair_bytes(const ee_window *layer) {
    return 8 + 8 * ee_groups(layer) + 2 * ee_line_bytes(layer);
}

static int ee_pair_bytes4(const ee_window *layer) {
    return 8 + 4 * ee_groups(layer) + 2 * ee_line_bytes(layer);
}

/* Two weights of four bits that share a byte, as if of eight bits: each 16 times as large. */
static inline int32_t ee_upper(int32_t byte) {
    return byte & ~15;
}

static inline int32_t ee_lower(int32_t byte) {
    return (int8_t)(uint8_t)((uint32_t)byte << 4);
}

/* Where the window of an output pixel begins in the input, and how far such windows are within it. */
typedef struct {
    int y, x, step_y, step_x, first_x, end_x, last_y, last_x;
} ee_corner;

static ee_corner ee_first_corner(const ee_window *layer) {
    ee_corner corner;
    corner.y = -layer->pad_top, corner.x = corner.first_x = -layer->pad_left;
    corner.step_y = layer->stride_y, corner.step_x = layer->stride_x;
    corner.end_x = layer->out_width * layer->stride_x - layer->pad_left;
    corner.last_y = layer->in_height - layer->kernel_height, corner.last_x = layer->in_width - layer->kernel_width;
    return corner;
}

static inline void ee_next_corner(ee_corner *corner) {
    corner->x += corner->step_x;
    if (corner->x == corner->end_x) {
        corner->x = corner->first_x;
        corner->y += corner->step_y;
    }
}

/* Copy a window in the order of the weights. */
EE_APART void ee_gather(const ee_window *layer, const int8_t *input, ee_corner corner, int8_t *patch) {
    const int channels = layer->in_channels, rows = layer->kernel_height, width = layer->in_width;
    const int line = layer->kernel_width * channels, fours = line & ~3;
    const int left = corner.x < 0 ? 0 : corner.x;
    const int right = corner.x + layer->kernel_width < width ? corner.x + layer->kernel_width : width;
    const int begin = (left - corner.x) * channels, end = (right - corner.x) * channels;
    const int middle = begin > fours ? begin : end < fours ? end : fours;
    int8_t *rest = patch + rows * fours;
    memset(patch, layer->in_zero_point, (size_t)(rows * line));
    for (int row = corner.y; row < corner.y + rows; row++, patch += fours, rest += line - fours) {
        if (row >= 0 && row < layer->in_height) {
            const int8_t *from = input + (row * width + left) * channels;
            ee_copy(patch + begin, from, middle - begin);
            ee_copy(rest + (middle - fours), from + (middle - begin), end - middle);
        }
    }
}

#if !defined(EE_DSP)

/*
 * Four signed bytes, at an address that 4 divides. Armv6-M loads a signed byte at a sum of two registers only, so there
 * one load of all four and shifts take fewer instructions.
 */
static inline void ee_four(const int8_t *from, int32_t to[4]) {
#if defined(__thumb__) && !defined(__thumb2__)
    const uint32_t word = ee_load(__builtin_assume_aligned(from, 4));
    to[0] = (int8_t)word, to[1] = (int8_t)(word >> 8), to[2] = (int8_t)(word >> 16), to[3] = (int32_t)word >> 24;
#else
    to[0] = from[0], to[1] = from[1], to[2] = from[2], to[3] = from[3];
#endif
}

/* Add the products of four inputs with the weights of channels a and b. */
EE_INLINE void ee_add_products(const int8_t *w, const int8_t *x, int32_t *a, int32_t *b, int bits) {
    int32_t even[4], odd[4];
    ee_four(w, even);
    if (bits == 8) {
        ee_four(w + 4, odd);
    }
    for (int i = 0; i < 4 && bits == 4; i++) {
        odd[i] = ee_lower(even[i]), even[i] = ee_upper(even[i]);
    }
    *a += even[0] * x[0] + even[2] * x[2];
    *b += even[1] * x[0] + even[3] * x[2];
    *a += odd[0] * x[1] + odd[2] * x[3];
    *b += odd[1] * x[1] + odd[3] * x[3];
}

/* Channels in twos of one pixel, then those that need TensorFlow Lite's arithmetic. */
EE_INLINE void ee_any_pixel(const ee_window *layer, const int8_t *patch, int8_t *output, int bits) {
    const int groups = ee_groups(layer), pair = bits == 8 ? ee_pair_bytes(layer) : ee_pair_bytes4(layer);
    const int8_t *weights = layer->weights;
    for (int channel = 0; channel + 1 < layer->out_channels; channel += 2, weights += pair) {
        const int8_t *w = weights + 8, *x = patch;
        int32_t a = 0, b = 0;
        for (int i = groups; i > 0; i--, w += bits, x += 4) {
            ee_add_products(w, x, &a, &b, bits);
        }
        a = (int32_t)(ee_load(weights) + ((uint32_t)a << 8));
        b = (int32_t)(ee_load(weights + 4) + ((uint32_t)b << 8));
        output[channel] = ee_line_output(layer, w, a);
        output[channel + 1] = ee_line_output(layer, w + ee_line_bytes(layer), b);
    }
    for (const ee_exact *exact = layer->exact, *end = exact + layer->exacts; exact < end; exact++) {
        const int8_t *w = layer->weights + exact->channel / 2 * pair + 8 + exact->channel % 2, *x = patch;
        int32_t sum = 0;
        for (int i = groups; i > 0; i--, w += bits, x += 4) {
            if (bits == 8) {
                sum += w[0] * x[0] + w[2] * x[2] + w[4] * x[1] + w[6] * x[3];
            } else {
                sum += ee_upper(w[0]) * x[0] + ee_upper(w[2]) * x[2] + ee_lower(w[0]) * x[1] + ee_lower(w[2]) * x[3];
            }
        }
        output[exact->channel] = ee_exact_output(layer, exact, bits == 8 ? sum : sum >> 4);
    }
}

static void ee_pixel(const ee_window *layer, const int8_t *patch, int8_t *output) {
    ee_any_pixel(layer, patch, output, 8);
}

static void ee_pixel4(const ee_window *layer, const int8_t *patch, int8_t *output) {
    ee_any_pixel(layer, patch, output, 4);
}

/* Windows of 1x1 (`pointwise`) stay where they are if they fill whole groups and no output is written on them. */
EE_INLINE void ee_convolution_plain(const ee_window *layer, const int8_t *input, int8_t *output, int8_t *patch,
                                    int pointwise, void (*run)(const ee_window *, const int8_t *, int8_t *)) {
    const int pixels = layer->out_height * layer->out_width, depth = layer->in_channels;
    const uintptr_t from = (uintptr_t)input, to = (uintptr_t)output;
    ee_corner corner = ee_first_corner(layer);
    if (pointwise && depth % 4 == 0 && (from >= to + ee_out_size(layer) || to >= from + (size_t)(pixels * depth))) {
        for (int pixel = 0; pixel < pixels; pixel++, input += depth, output += layer->out_channels) {
            run(layer, input, output);
        }
        return;
    }
    memset(patch, 0, (size_t)(4 * ee_groups(layer)));
    for (int pixel = 0; pixel < pixels; pixel++, output += layer->out_channels) {
        ee_gather(layer, input, corner, patch);
        ee_next_corner(&corner);
        run(layer, patch, output);
    }
}

#else

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

/* Bytes 0 and 2 of four, times 256, as two 16-bit numbers; bytes 1 and 3. */
static inline uint32_t ee_even_up(uint32_t bytes) {
    return bytes << 8 & 0xFF00FF00u;
}

static inline uint32_t ee_odd_up(uint32_t bytes) {
    return bytes & 0xFF00FF00u;
}

/* Widen four rows of `depth` bytes to a block. */
EE_INLINE void ee_widen4(const int8_t *rows, int depth, uint32_t *block) {
    const int groups = depth >> 2, left = depth & 3;
    if (groups > 0) {
        ee_widen_fours(rows, depth, block, groups);
    }
    if (left > 0) {
        rows += 4 * groups, block += 8 * groups;
        for (int i = 0; i < 4; i++, rows += depth, block++) {
            const uint32_t bytes = ee_load_some(rows, left);
            block[0] = ee_even_up(bytes), block[4] = ee_odd_up(bytes);
        }
    }
}

/* Widen a window of 3x3 pixels of three channels within the input, to a pixel's place in a block. */
EE_INLINE void ee_widen_9x3(const int8_t *from, int pitch, uint32_t *block) {
    uint32_t rest[3];
    for (int row = 0; row < 3; row++, from += pitch, block += 16) {
        const uint32_t a = ee_load(from), b = ee_load(from + 4);
        rest[row] = (uint8_t)from[8];
        block[0] = ee_even_up(a), block[4] = ee_odd_up(a);
        block[8] = ee_even_up(b), block[12] = ee_odd_up(b);
    }
    block[0] = rest[0] << 8 | rest[2] << 24;
    block[4] = rest[1] << 8;
}

/* Widen the windows of four pixels to a block. */
EE_APART void ee_gather4(const ee_window *layer, const int8_t *input, ee_corner *corner, uint32_t *block,
                         int8_t *patch) {
    const int pitch = layer->in_width * layer->in_channels, groups = ee_groups(layer), step = corner->step_x;
    const int small = layer->in_channels == 3 && layer->kernel_width == 3 && layer->kernel_height == 3;
    uint32_t *const end = block + 4;
    while (block < end) {
        int inside = small && corner->x >= 0 && corner->y >= 0 && corner->y <= corner->last_y;
        const int8_t *from = inside ? input + corner->y * pitch + corner->x * 3 : input;
        EE_ROLLED for (; inside && block < end && corner->x <= corner->last_x; block++, from += 3 * step) {
            ee_widen_9x3(from, pitch, block);
            ee_next_corner(corner);
            inside = corner->x != corner->first_x;
        }
        if (block < end) {
            ee_gather(layer, input, *corner, patch);
            EE_ROLLED for (int i = 0; i < groups; i++) {
                const uint32_t bytes = ee_load(patch + 4 * i);
                block[8 * i] = ee_even_up(bytes), block[8 * i + 4] = ee_odd_up(bytes);
            }
            ee_next_corner(corner);
            block++;
        }
    }
}

/* The channels of some pixels in a block that need TensorFlow Lite's arithmetic. */
EE_APART void ee_exact_pixels(const ee_window *layer, const uint32_t *block, int pixels, int8_t *output) {
    const int pair = ee_pair_bytes(layer), groups = ee_groups(layer);
    for (const ee_exact *exact = layer->exact, *end = exact + layer->exacts; exact < end; exact++) {
        for (int pixel = 0; pixel < pixels; pixel++) {
            const int8_t *w = layer->weights + exact->channel / 2 * pair + 8 + exact->channel % 2;
            const uint32_t *at = block + pixel;
            int32_t sum = 0;
            for (int i = groups; i > 0; i--, w += 8, at += 2 * pixels) {
                sum = ee_mac(ee_odd(at[0]), ee_lows((uint32_t)w[0], (uint32_t)w[2]), sum);
                sum = ee_mac(ee_odd(at[pixels]), ee_lows((uint32_t)w[4], (uint32_t)w[6]), sum);
            }
            output[pixel * layer->out_channels + exact->channel] = ee_exact_output(layer, exact, sum);
        }
    }
}

EE_APART void ee_exact_pixels4(const ee_window *layer, const uint32_t *block, int pixels, int8_t *output) {
    const int pair = ee_pair_bytes4(layer), groups = ee_groups(layer);
    for (const ee_exact *exact = layer->exact, *end = exact + layer->exacts; exact < end; exact++) {
        for (int pixel = 0; pixel < pixels; pixel++) {
            const int8_t *w = layer->weights + exact->channel / 2 * pair + 8 + exact->channel % 2;
            const uint32_t *at = block + pixel;
            int32_t sum = 0;
            for (int i = groups; i > 0; i--, w += 4, at += 2 * pixels) {
                const int32_t a = w[0], b = w[2];
                sum = ee_mac(ee_odd(at[0]), ee_lows((uint32_t)ee_upper(a), (uint32_t)ee_upper(b)), sum);
                sum = ee_mac(ee_odd(at[pixels]), ee_lows((uint32_t)ee_lower(a), (uint32_t)ee_lower(b)), sum);
            }
            output[pixel * layer->out_channels + exact->channel] = ee_exact_output(layer, exact, sum >> 4);
        }
    }
}

/* Add the products of a pixel with two channels' weights; return where these end. */
static inline const int8_t *ee_dot1(const int8_t *weights, const uint32_t *at, const uint32_t *end, int32_t *a,
                                    int32_t *b) {
    int32_t first = *a, second = *b;
#if defined(EE_ASSEMBLY)
    uint32_t halves;
#define EE_ONE_PIXEL(weights, x)                                                                                       \
    "sxtb16 %[halves], " weights "\n smlad %[first], " x ", %[halves], %[first]\n"                                     \
    "sxtb16 %[halves], " weights ", ror #8\n smlad %[second], " x ", %[halves], %[second]\n"
    for (; end - at >= 4;) {
        __asm__("ldmia %[weights]!, {r4, r5, r6, r8}\n ldmia %[at]!, {r9, r10, r11, r12}\n" EE_ONE_PIXEL("r4", "r9")
                EE_ONE_PIXEL("r5", "r10") EE_ONE_PIXEL("r6", "r11") EE_ONE_PIXEL("r8", "r12")
                : [weights] "+r"(weights), [at] "+r"(at), [first] "+r"(first), [second] "+r"(second),
                  [halves] "=&r"(halves)
                :
                : "r4", "r5", "r6", "r8", "r9", "r10", "r11", "r12", "memory");
    }
#undef EE_ONE_PIXEL
#endif
    for (; at < end; at += 2, weights += 8) {
        const uint32_t evens = ee_load(weights), odds = ee_load(weights + 4), x = at[0], y = at[1];
        first = ee_mac(x, ee_even(evens), first);
        second = ee_mac(x, ee_odd(evens), second);
        first = ee_mac(y, ee_even(odds), first);
        second = ee_mac(y, ee_odd(odds), second);
    }
    *a = first, *b = second;
    return weights;
}

/* The weights of four bits in the upper and in the lower halves of four bytes, as ee_upper and ee_lower. */
static inline uint32_t ee_uppers(uint32_t bytes) {
    return bytes & 0xF0F0F0F0u;
}

static inline uint32_t ee_lowers(uint32_t bytes) {
    return bytes << 4 & 0xF0F0F0F0u;
}

static inline const int8_t *ee_dot1_4(const int8_t *weights, const uint32_t *at, const uint32_t *end, int32_t *a,
                                      int32_t *b) {
    int32_t first = *a, second = *b;
    for (; at < end; at += 2, weights += 4) {
        const uint32_t bytes = ee_load(weights), evens = ee_uppers(bytes), odds = ee_lowers(bytes);
        first = ee_mac(at[0], ee_even(evens), first);
        second = ee_mac(at[0], ee_odd(evens), second);
        first = ee_mac(at[1], ee_even(odds), first);
        second = ee_mac(at[1], ee_odd(odds), second);
    }
    *a = first, *b = second;
    return weights;
}

/* All channels of one pixel. The row is widened first: the output may overwrite it. */
EE_INLINE void ee_any_pixel1(const ee_window *layer, const int8_t *row, int depth, uint32_t *block, int8_t *output,
                             int bits) {
    uint32_t *at = block;
    for (int left = depth; left > 0; left -= 4, row += 4) {
        const uint32_t bytes = left >= 4 ? ee_load(row) : ee_load_some(row, left);
        *at++ = ee_even_up(bytes);
        *at++ = ee_odd_up(bytes);
    }
    const uint32_t *const end = at;
    const int8_t *weights = layer->weights;
    const int rectified = layer->rectified, shift = layer->shift;
    int32_t offset = layer->offset;
    for (int channel = layer->out_channels; channel > 1; channel -= 2) {
        int32_t a = (int32_t)ee_load(weights), b = (int32_t)ee_load(weights + 4);
        weights = bits == 8 ? ee_dot1(weights + 8, block, end, &a, &b) : ee_dot1_4(weights + 8, block, end, &a, &b);
        for (int i = 0; i < 2; i++, a = b) {
            const int32_t multiplier = (int32_t)ee_load(weights);
            weights += 4;
            if (!rectified) {
                offset = (int32_t)ee_load(weights) - ((int32_t)ee_load(weights + 4) & a >> 31);
                weights += 8;
            }
            *output++ = ee_saturated(ee_scaled(a, multiplier, offset) >> shift);
        }
    }
}

EE_APART void ee_pixel1(const ee_window *layer, const int8_t *row, int depth, uint32_t *block, int8_t *output) {
    ee_any_pixel1(layer, row, depth, block, output, 8);
}

EE_APART void ee_pixel1_4(const ee_window *layer, const int8_t *row, int depth, uint32_t *block, int8_t *output) {
    ee_any_pixel1(layer, row, depth, block, output, 4);
}

/* Pixels in fours, the rest one by one. `pointwise`: rows of the input are the windows. */
EE_INLINE void ee_any_convolution_dsp(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch,
                                      int pointwise, int bits) {
    const int pixels = layer->out_height * layer->out_width, channels = layer->out_channels;
    const int groups = ee_groups(layer);
    const int depth = layer->kernel_height * layer->kernel_width * layer->in_channels;
    int8_t *const patch = (int8_t *)(scratch + 8 * groups);
    ee_corner corner = ee_first_corner(layer);
    int pixel = 0;
    ee_quad quad;
    if (!pointwise) {
        memset(patch, 0, (size_t)(4 * groups)); /* what fills up the last four is not a window's */
    }
    quad.block = scratch, quad.block_end = scratch + 8 * groups;
    quad.channels = (uint32_t)channels;
    quad.begin = (uint32_t)(bits == 8 ? (2 * groups - 1) & 15 : (groups - 1) & 7);
    quad.constant = layer->rectified ? layer->offset : layer->shift;
    quad.weights = layer->weights;
    quad.output = output;
    for (; pixel + 4 <= pixels; pixel += 4, quad.output += 4 * channels) {
        if (pointwise) {
            ee_widen4(input + pixel * depth, depth, scratch);
        } else {
            ee_gather4(layer, input, &corner, scratch, patch);
        }
        quad.end = quad.output + (channels & ~1);
        if (channels < 2) {
            /* Its only channel is among the exact ones. */
        } else if (layer->rectified) {
            bits == 8 ? ee_quad_rectified(&quad) : ee_quad4_rectified(&quad);
        } else {
            bits == 8 ? ee_quad_signed(&quad) : ee_quad4_signed(&quad);
        }
        if (layer->exacts > 0) {
            bits == 8 ? ee_exact_pixels(layer, scratch, 4, quad.output)
                      : ee_exact_pixels4(layer, scratch, 4, quad.output);
        }
    }
    for (; pixel < pixels; pixel++, quad.output += channels) {
        if (!pointwise) {
            ee_gather(layer, input, corner, patch);
            ee_next_corner(&corner);
        }
        const int8_t *row = pointwise ? input + pixel * depth : patch;
        bits == 8 ? ee_pixel1(layer, row, depth, scratch, quad.output)
                  : ee_pixel1_4(layer, row, depth, scratch, quad.output);
        bits == 8 ? ee_exact_pixels(layer, scratch, 1, quad.output) : ee_exact_pixels4(layer, scratch, 1, quad.output);
    }
    ee_clip(layer, output);
}

static void ee_convolution_dsp(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch,
                               int pointwise) {
    ee_any_convolution_dsp(layer, input, output, scratch, pointwise, 8);
}

static void ee_convolution4_dsp(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch,
                                int pointwise) {
    ee_any_convolution_dsp(layer, input, output, scratch, pointwise, 4);
}
#endif

void ee_convolution(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch) {
#if defined(EE_DSP)
    ee_convolution_dsp(layer, input, output, scratch, 0);
#else
    ee_convolution_plain(layer, input, output, (int8_t *)scratch, 0, ee_pixel);
#endif
}

void ee_pointwise(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch) {
#if defined(EE_DSP)
    ee_convolution_dsp(layer, input, output, scratch, 1);
#else
    ee_convolution_plain(layer, input, output, (int8_t *)scratch, 1, ee_pixel);
#endif
}

void ee_convolution4(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch) {
#if defined(EE_DSP)
    ee_convolution4_dsp(layer, input, output, scratch, 0);
#else
    ee_convolution_plain(layer, input, output, (int8_t *)scratch, 0, ee_pixel4);
#endif
}

void ee_pointwise4(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch) {
#if defined(EE_DSP)
    ee_convolution4_dsp(layer, input, output, scratch, 1);
#else
    ee_convolution_plain(layer, input, output, (int8_t *)scratch, 1, ee_pixel4);
#endif
}

/*
 * Depthwise convolution. A few channels at a time, so that the output can lie on the input: rows of the input, with
 * padding, are copied to scratch memory channel by channel, as bytes (plain) or 16-bit numbers (DSP, times 256: the value
 * is the second byte); then a band of output rows is computed.
 */

static int ee_line_of_weights(const ee_window *layer) {
    return (layer->kernel_width + 4) & ~3;
}

/* Where a channel's start lies. */
static const int8_t *ee_depthwise_weights(const ee_window *layer, int channel) {
    return layer->weights +
           channel * (4 + layer->kernel_height * ee_line_of_weights(layer) + ee_line_bytes(layer));
}

/* NULL unless the channel needs TensorFlow Lite's arithmetic. */
static const ee_exact *ee_find_exact(const ee_window *layer, int channel) {
    for (const ee_exact *exact = layer->exact, *end = exact + layer->exacts; exact < end; exact++) {
        if (exact->channel == channel) {
            return exact;
        }
    }
    return NULL;
}

/* A band of one channel's output, from rows of bytes. */
static void ee_band_plain(const ee_window *layer, const int8_t *plane, int channel, int rows, int8_t *output) {
    const int8_t *weights = ee_depthwise_weights(layer, channel);
    const int line = ee_line_of_weights(layer), scale = 8 + weights[4 + layer->kernel_width];
    const ee_exact *exact = ee_find_exact(layer, channel);
    for (int y = 0; y < rows; y++) {
        for (int x = 0; x < layer->out_width; x++, output += layer->out_channels) {
            const int8_t *corner = plane + y * layer->stride_y * layer->row + x * layer->stride_x;
            const int8_t *weight = weights + 4;
            int32_t sum = 0;
            for (int i = 0; i < layer->kernel_height; i++, corner += layer->row, weight += line) {
                for (int j = 0; j < layer->kernel_width; j++) {
                    sum += weight[j] * corner[j];
                }
            }
            if (exact != NULL) {
                *output = ee_exact_output(layer, exact, sum);
            } else {
                *output = ee_line_output(layer, weight, (int32_t)(ee_load(weights) + ((uint32_t)sum << scale)));
            }
        }
    }
}

/* One channel of some rows. */
static void ee_plane_rows(const ee_window *layer, const int8_t *input, int rows, int8_t *to, int unit, int pitch) {
    const int channels = layer->in_channels, width = layer->in_width;
    for (; rows > 0; rows--, to += pitch) {
        int8_t *place = to + unit - 1;
        for (const int8_t *end = input + width * channels; input < end; input += channels, place += unit) {
            *place = *input;
        }
    }
}

#if defined(EE_DSP)

static int ee_is_fast_depthwise(const ee_window *layer) {
    return layer->rectified && layer->kernel_height == 3 && layer->kernel_width == 3 &&
           layer->stride_x == layer->stride_y && layer->stride_x <= 2 && 2 * layer->row <= EE_FAR;
}
#endif

/* Planes in scratch memory: rows of them lie side by side where they are short. */
typedef struct {
    int unit;   /* bytes of a value */
    int pitch;  /* bytes from row to row */
    int beside; /* planes side by side */
    int held;   /* rows */
    int8_t *at[4];
} ee_planes;

#if defined(EE_DSP)

/* Four channels of some rows; the first values' places are `begin` bytes behind the planes'. */
EE_APART void ee_planes4(const ee_window *layer, const ee_planes *planes, const int8_t *input, int rows, int begin) {
    const int channels = layer->in_channels, width = layer->in_width, pitch = planes->pitch;
    ee_split split;
    split.from = input, split.to = planes->at[0] + begin;
    split.pairs = (uint32_t)(width >> 1), split.rows = 1;
    split.channels = (uint32_t)channels;
    split.second = (uint32_t)(planes->at[1] - planes->at[0]);
    split.third = (uint32_t)(planes->at[2] - planes->at[0]);
    split.fourth = (uint32_t)(planes->at[3] - planes->at[0]);
    split.rest = (uint32_t)(pitch - 2 * width);
    if ((width & 1) == 0) {
        split.rows = (uint32_t)rows;
        if (rows > 0) {
            ee_split_rows(&split);
        }
        return;
    }
    for (; rows > 0; rows--, split.from += width * channels, split.to += pitch) {
        const int8_t *last = split.from + (width - 1) * channels;
        int8_t *place = split.to + 2 * width - 1;
        if (width > 1) {
            ee_split_rows(&split);
        }
        place[0] = last[0], place[split.second] = last[1], place[split.third] = last[2], place[split.fourth] = last[3];
    }
}
#endif

/* Fill rows from `from` on with the input's zero point. */
EE_APART void ee_fill_rows(const ee_window *layer, const ee_planes *planes, int group, int from, int rows) {
    const int8_t value = layer->in_zero_point;
    const uint32_t word = planes->unit == 2 ? ((uint32_t)(uint8_t)value * 0x01000100u) : 0;
    for (int number = 0; number < group; number++) {
        int8_t *row = planes->at[number] + from * planes->pitch;
        for (int i = 0; i < rows; i++, row += planes->pitch) {
            if (planes->unit == 1) {
                memset(row, value, layer->row);
                continue;
            }
            for (int x = 0; x < 2 * layer->row; x += 4) {
                ee_store(row + x, word);
            }
        }
    }
}

#if defined(EE_DSP)

/* A band of a channel that needs TensorFlow Lite's arithmetic; 3x3. */
EE_APART void ee_band_exact(const ee_window *layer, const int8_t *plane, int pitch, const ee_exact *exact, int rows,
                            int8_t *output) {
    const int8_t *w = ee_depthwise_weights(layer, exact->channel) + 4;
    uint32_t pairs[3], thirds[3];
    for (int i = 0; i < 3; i++, w += 4) {
        pairs[i] = ee_lows((uint32_t)w[0], (uint32_t)w[1]);
        thirds[i] = ee_lows((uint32_t)w[2], 0);
    }
    for (; rows > 0; rows--, plane += layer->stride_y * pitch) {
        const int8_t *at = plane;
        for (int x = layer->out_width; x > 0; x--, at += 2 * layer->stride_x, output += layer->out_channels) {
            int32_t sum = 0;
            for (int i = 0; i < 3; i++) {
                sum = ee_mac(ee_load(at + i * pitch), pairs[i], sum);
                sum = ee_mac((uint32_t)(uint8_t)at[i * pitch + 5] << 8, thirds[i], sum);
            }
            *output = ee_exact_output(layer, exact, sum >> 8);
        }
    }
}

/* A band of the output of `group` channels: 3x3, stride 1 (two outputs at a time, or two of two rows) or 2. */
EE_APART void ee_bands(const ee_window *layer, const ee_planes *planes, int channel, int group, int rows,
                       int8_t *output) {
    const int stride = layer->stride_x, width = layer->out_width, near = planes->pitch == EE_NEAR;
    const int halved = stride == 2 || width == 1, odd = !halved && (width & 1) != 0;
    const int twice = near && !halved && !odd && rows > 1;
    const int line = width * layer->out_channels;
    const uint32_t span = 2 * (uint32_t)(halved ? 2 * width : width & ~1);
    const uint32_t end = span + (odd ? 4 : 0);
    void (*const run)(const ee_band *) = near && stride == 2 && (width & 1) == 0 ? ee_band_doubled_near
 : halved  ? near ? ee_band_halved_near : ee_band_halved_far
                                         : odd   ? near ? ee_band_odd_near : ee_band_odd_far
                                         : twice ? ee_band_twice_near
                                         : near  ? ee_band_even_near
                                                 : ee_band_even_far;
    ee_band band;
    band.offset = layer->offset, band.span = span;
    band.channels = layer->out_channels, band.line = (uint32_t)line;
    for (int i = 0; i < group; i++, output++) {
        band.weights = ee_depthwise_weights(layer, channel + i);
        band.plane = planes->at[i], band.output = output;
        band.rows = (uint32_t)(twice ? rows / 2 : rows);
        band.skip = (uint32_t)((twice ? 2 : stride) * planes->pitch) - end;
        const ee_exact *const exact = ee_find_exact(layer, channel + i);
        if (exact != NULL) {
            ee_band_exact(layer, planes->at[i], planes->pitch, exact, rows, output);
            continue;
        }
        run(&band);
        if (twice && (rows & 1) != 0) {
            band.rows = 1;
            band.plane += (rows - 1) * planes->pitch, band.output += (rows - 1) * line;
            ee_band_even_near(&band);
        }
    }
}
#endif

/* `group` channels from `channel` on: up to 4 with the DSP code, else 1. Scratch memory is full of padding. */
static void ee_depthwise_group(const ee_window *layer, const ee_planes *planes, const int8_t *input, int8_t *output,
                               int channel, int group) {
    const int pitch = planes->pitch, unit = planes->unit;
    const int step = layer->band * layer->stride_y;
    const int kept = planes->held > step ? planes->held - step : 0;
    const int line = layer->in_width * layer->in_channels;
    for (int y = 0; y < layer->out_height; y += layer->band) {
        const int rows = layer->out_height - y < layer->band ? layer->out_height - y : layer->band;
        const int first = y * layer->stride_y - layer->pad_top;
        /* Rows of scratch memory: which of them are filled from the input, and where that ends. */
        int from = y > 0 ? kept : 0;
        int to = (rows - 1) * layer->stride_y + layer->kernel_height;
        if (y > 0 && kept > 0) {
            for (int i = 0; i < group; i += planes->beside) {
                int8_t *plane = planes->at[i];
                memcpy(plane, plane + step * pitch, (size_t)(kept * pitch));
            }
        }
        /* With a single band the padding above and below is still there from the channels before. */
        if (layer->band < layer->out_height) {
            const int above = first + from < 0 ? -first - from : 0;
            const int below = first + to > layer->in_height ? first + to - layer->in_height : 0;
            const int most = to - from;
            ee_fill_rows(layer, planes, group, from, above < most ? above : most);
            ee_fill_rows(layer, planes, group, to - (below < most ? below : most), below < most ? below : most);
        }
        from = first + from < 0 ? -first : from;
        to = first + to > layer->in_height ? layer->in_height - first : to;
        const int8_t *values = input + (first + from) * line + channel;
        int8_t *out = output + y * layer->out_width * layer->out_channels + channel;
        const int begin = from * pitch + layer->pad_left * unit;
#if defined(EE_DSP)
        if (group == 4) {
            ee_planes4(layer, planes, values, to - from, begin);
        }
#endif
        for (int i = 0; i < group && group < 4; i++) {
            ee_plane_rows(layer, values + i, to - from, planes->at[i] + begin, unit, pitch);
        }
#if defined(EE_DSP)
        if (unit == 2) {
            ee_bands(layer, planes, channel, group, rows, out);
            continue;
        }
#endif
        ee_band_plain(layer, planes->at[0], channel, rows, out);
    }
}

void ee_depthwise(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch) {
    const size_t size = (size_t)layer->in_height * layer->in_width * layer->in_channels;
    const uintptr_t lead = (uintptr_t)input - (uintptr_t)output;
    const int held = (layer->band - 1) * layer->stride_y + layer->kernel_height;
    ee_planes planes = {1, layer->row, 1, held, {(int8_t *)scratch, NULL, NULL, NULL}};
    int most = 1;
#if defined(EE_DSP)
    if (ee_is_fast_depthwise(layer)) {
        most = 4;
        planes.unit = 2;
        planes.pitch = 2 * layer->row <= EE_NEAR ? EE_NEAR : EE_FAR;
        planes.beside = 8 * layer->row <= planes.pitch ? 4 : 4 * layer->row <= planes.pitch ? 2 : 1;
        for (int i = 1; i < 4; i++) {
            const int beside = i & (planes.beside - 1);
            planes.at[i] = beside > 0 ? planes.at[i - 1] + 2 * layer->row
                                      : planes.at[i - planes.beside] + held * planes.pitch;
        }
    }
#endif
    /* Channel by channel the output can lie on the input or away from it, but not on another channel of it. */
    if (lead > 0 && lead < ee_out_size(layer)) {
        memmove(output, input, size);
        input = output;
    }
    ee_fill_rows(layer, &planes, most, 0, planes.held);
    for (int channel = 0; channel < layer->out_channels; channel += most) {
        const int left = layer->out_channels - channel;
        ee_depthwise_group(layer, &planes, input, output, channel, left < most ? left : most);
    }
    ee_clip(layer, output);
}

/* The lower halves of four bytes as signed bytes. */
static inline uint32_t ee_signed_lowers(uint32_t bytes) {
    return (((bytes & 0x0F0F0F0Fu) ^ 0x88888888u) - 0x08080808u) ^ 0x80808080u;
}

/* Unpack the weights of four bits of a depthwise convolution to the layout of eight bits; return where that ends. */
EE_APART uint32_t *ee_unpack_depthwise(const ee_window *layer, uint32_t *to) {
    const int words = ee_line_of_weights(layer) >> 2, line = ee_line_bytes(layer) >> 2;
    const int pairs = layer->kernel_height >> 1, alone = (layer->kernel_height & 1) * words;
    const uint32_t *from = (const uint32_t *)(const void *)layer->weights;
    for (int channel = 0; channel < layer->out_channels; channel++) {
        const int8_t bits = ((const int8_t *)(from + 1))[layer->kernel_width] & 15;
        int8_t *const place = (int8_t *)(to + 1) + layer->kernel_width;
        *to++ = *from++;
        EE_ROLLED for (int pair = 0; pair < pairs; pair++, to += words) {
            EE_ROLLED for (int i = 0; i < words; i++, to++, from++) {
                to[0] = ee_signed_lowers(*from >> 4), to[words] = ee_signed_lowers(*from);
            }
        }
        EE_ROLLED for (int i = 0; i < alone; i++) {
            *to++ = ee_signed_lowers(*from++ >> 4);
        }
        EE_ROLLED for (int i = 0; i < line; i++) {
            *to++ = *from++;
        }
        *place = bits;
    }
    return to;
}

void ee_depthwise4(const ee_window *layer, const int8_t *input, int8_t *output, uint32_t *scratch) {
    ee_window unpacked = *layer;
    unpacked.weights = (const int8_t *)scratch;
    ee_depthwise(&unpacked, input, output, ee_unpack_depthwise(layer, scratch));
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
        int32_t second = ee_scaled_up(*b++ * (1 << 20) + b_start, b_multiplier);
        if (rounded) {
            second = (ee_away(second) + half) >> b_shift;
        }
        const int32_t high = ee_away(ee_scaled_up(*a++ * (1 << 19) + a_start + second, multiplier));
        *output++ = ee_saturated((high + offset) >> shift);
    }
}
#endif

#if defined(EE_DSP)

/* By lines; four at a time. */
EE_APART void ee_add_lines(const ee_sum *layer, const int8_t *a, const int8_t *b, int8_t *output) {
    const int32_t a_line = layer->a_line, b_line = layer->b_line, start = layer->start;
    const int8_t *const end = a + layer->size;
    for (; end - a >= 4; a += 4, b += 4, output += 4) {
        const uint32_t x = ee_load(a), y = ee_load(b);
        output[0] = ee_summed((int32_t)(x << 24), a_line, (int32_t)(y << 24), b_line, start);
        output[1] = ee_summed((int32_t)(x << 16 & 0xFF000000u), a_line, (int32_t)(y << 16 & 0xFF000000u), b_line, start);
        output[2] = ee_summed((int32_t)(x << 8 & 0xFF000000u), a_line, (int32_t)(y << 8 & 0xFF000000u), b_line, start);
        output[3] = ee_summed((int32_t)(x & 0xFF000000u), a_line, (int32_t)(y & 0xFF000000u), b_line, start);
    }
    while (a < end) {
        *output++ = ee_summed(*a++ * (1 << 24), a_line, *b++ * (1 << 24), b_line, start);
    }
}
#endif

void ee_add(const ee_sum *layer, const int8_t *a, const int8_t *b, int8_t *output) {
#if defined(EE_DSP)
    if (layer->a_line != 0) {
        ee_add_lines(layer, a, b, output);
        return;
    }
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

static int8_t ee_mean_output(const ee_pool *layer, int32_t sum) {
    const int32_t value = ee_requantized(sum - layer->in_zero_point * layer->pixels, layer->multiplier, layer->shift);
    return ee_clipped(value + layer->out_zero_point, -128, 127);
}

void ee_mean(const ee_pool *layer, const int8_t *input, int8_t *output) {
    const int channels = layer->channels, size = layer->pixels * channels;
    int channel = 0;
#if defined(EE_DSP)
    /* Four channels at a time, as 16-bit sums of 255 pixels at most. */
    for (; channel + 4 <= channels && layer->pixels < 256; channel += 4, input += 4) {
        uint32_t even = 0, odd = 0;
        for (const int8_t *value = input, *end = input + size - channel; value < end; value += channels) {
            const uint32_t bytes = ee_load(value);
            even = ee_add_even(even, bytes);
            odd = ee_add_odd(odd, bytes);
        }
        output[channel] = ee_mean_output(layer, (int16_t)even);
        output[channel + 1] = ee_mean_output(layer, (int16_t)odd);
        output[channel + 2] = ee_mean_output(layer, (int32_t)even >> 16);
        output[channel + 3] = ee_mean_output(layer, (int32_t)odd >> 16);
    }
#endif
    for (; channel < channels; channel++, input++) {
        int32_t sum = 0;
        for (const int8_t *value = input, *end = input + size - channel; value < end; value += channels) {
            sum += *value;
        }
        output[channel] = ee_mean_output(layer, sum);
    }
}
