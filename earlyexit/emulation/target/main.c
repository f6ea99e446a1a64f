/*
 * Test firmware: classifies the images that lie in the exchange memory, segment by segment and as a cascade, and prints
 * answers and SysTick's ticks through semihosting (Arm's way for a program on a target to reach the computer that
 * debugs or emulates it).
 */

#include <stdint.h>
#include <string.h>

#include "ee.h"

#define SYSTICK_CONTROL (*(volatile uint32_t *)0xE000E010u)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xE000E014u)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xE000E018u)
#define SYSTICK_MASK 0xFFFFFFu /* it counts 24 bits down */
#define SYSTICK_ON 5u          /* processor clock, no interrupt */

#define SEMIHOSTING_PRINT 0x04
#define SEMIHOSTING_EXIT 0x18
#define SEMIHOSTING_EXIT_DONE 0x20026

typedef struct {
    uint32_t images;
    uint32_t unused[3];
    int8_t image[][EE_IMAGE_BYTES];
} ee_exchange;

extern const ee_exchange exchange;

static void semihosting(int32_t operation, uintptr_t argument)
{
    register int32_t r0 __asm__("r0") = operation;
    register uintptr_t r1 __asm__("r1") = argument;

    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

static void print_text(const char *text)
{
    semihosting(SEMIHOSTING_PRINT, (uintptr_t)text);
}

static void print_number(int32_t value)
{
    char text[13];
    char *digit = text + sizeof text - 1;
    uint32_t rest = value < 0 ? 0u - (uint32_t)value : (uint32_t)value;

    *digit = '\0';
    do {
        *--digit = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0) {
        *--digit = '-';
    }
    *--digit = ' ';
    print_text(digit);
}

static int32_t ticks_since(uint32_t begin)
{
    return (int32_t)((begin - SYSTICK_VALUE) & SYSTICK_MASK);
}

int main(void)
{
    uint32_t number;

    SYSTICK_RELOAD = SYSTICK_MASK;
    SYSTICK_VALUE = 0;
    SYSTICK_CONTROL = SYSTICK_ON;
    if (ee_init() != EE_OK) {
        print_text("ee_init failed\n");
    }
    for (number = 0; number < exchange.images; number++) {
        ee_result result = {0, 0, 0};
        uint32_t begin;
        int32_t ticks;
        unsigned segment;

        memcpy(ee_input(), exchange.image[number], EE_IMAGE_BYTES);
        for (segment = 0; segment < EE_SEGMENTS; segment++) {
            int8_t logits[EE_CLASSES] = {0};
            int status;

            begin = SYSTICK_VALUE;
            status = ee_run_segment(segment, segment == 0 ? ee_input() : NULL, logits);
            ticks = ticks_since(begin);
            print_text("segment");
            print_number(status);
            print_number(ticks);
            print_number(logits[0]);
            print_number(logits[1]);
            print_text("\n");
        }
        begin = SYSTICK_VALUE;
        if (ee_run(exchange.image[number], &result) != EE_OK) {
            print_text("ee_run failed\n");
        }
        ticks = ticks_since(begin);
        print_text("cascade");
        print_number(ticks);
        print_number(result.label);
        print_number(result.exit);
        print_number(result.margin);
        print_text("\n");
    }
    semihosting(SEMIHOSTING_EXIT, SEMIHOSTING_EXIT_DONE);
    return 0;
}
