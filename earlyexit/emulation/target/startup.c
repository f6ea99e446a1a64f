/*
 * From reset to main on a Cortex-M4, and the functions that compilers call by themselves: memcpy, memmove, memset, also
 * under the names of Arm's run-time ABI, which promise an alignment with 4 or 8 at the end.
 */

#include <stdint.h>
#include <string.h>

#define PAINT 0xA5A5A5A5u /* where the stack never was, this is left */

extern uint32_t data_begin[], data_end[], data_values[], bss_begin[], bss_end[], stack_limit[], stack_top[];

int main(void);
void reset(void);
static void fault(void);

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))(uintptr_t)stack_top,
    reset,
    fault, /* NMI */
    fault, /* hard fault */
    fault, /* memory management */
    fault, /* bus fault */
    fault, /* usage fault */
};

static void fault(void)
{
    for (;;) {
    }
}

void reset(void)
{
    uint32_t *to;
    const uint32_t *from = data_values;
    const uint32_t *here;

    for (to = data_begin; to < data_end; to++) {
        *to = *from++;
    }
    for (to = bss_begin; to < bss_end; to++) {
        *to = 0;
    }
    __asm__ volatile("mov %0, sp" : "=r"(here));
    for (to = stack_limit; to < here; to++) {
        *to = PAINT;
    }
    (void)main();
    fault();
}

/* Words where both ends can be aligned together: what newlib's and vendors' versions do. */
void *memcpy(void *restrict destination, const void *restrict source, size_t size)
{
    uint8_t *to = destination;
    const uint8_t *from = source;

    if ((((uintptr_t)to ^ (uintptr_t)from) & 3u) == 0) {
        for (; size > 0 && ((uintptr_t)to & 3u) != 0; size--) {
            *to++ = *from++;
        }
        for (; size >= 16; size -= 16, to += 16, from += 16) {
            uint32_t a = ((const uint32_t *)(const void *)from)[0];
            uint32_t b = ((const uint32_t *)(const void *)from)[1];
            uint32_t c = ((const uint32_t *)(const void *)from)[2];
            uint32_t d = ((const uint32_t *)(const void *)from)[3];

            ((uint32_t *)(void *)to)[0] = a;
            ((uint32_t *)(void *)to)[1] = b;
            ((uint32_t *)(void *)to)[2] = c;
            ((uint32_t *)(void *)to)[3] = d;
        }
        for (; size >= 4; size -= 4, to += 4, from += 4) {
            *(uint32_t *)(void *)to = *(const uint32_t *)(const void *)from;
        }
    }
    for (; size > 0; size--) {
        *to++ = *from++;
    }
    return destination;
}

void *memmove(void *destination, const void *source, size_t size)
{
    uint8_t *to = destination;
    const uint8_t *from = source;

    if (to <= from || to >= from + size) {
        return memcpy(destination, source, size);
    }
    while (size > 0) {
        size--;
        to[size] = from[size];
    }
    return destination;
}

void *memset(void *destination, int value, size_t size)
{
    uint8_t *to = destination;
    const uint32_t word = 0x01010101u * (uint8_t)value;

    for (; size > 0 && ((uintptr_t)to & 3u) != 0; size--) {
        *to++ = (uint8_t)value;
    }
    for (; size >= 4; size -= 4, to += 4) {
        *(uint32_t *)(void *)to = word;
    }
    for (; size > 0; size--) {
        *to++ = (uint8_t)value;
    }
    return destination;
}

#define ALSO(name, function) __typeof__(function) name __attribute__((alias(#function)))

ALSO(__aeabi_memcpy, memcpy);
ALSO(__aeabi_memcpy4, memcpy);
ALSO(__aeabi_memcpy8, memcpy);
ALSO(__aeabi_memmove, memmove);
ALSO(__aeabi_memmove4, memmove);
ALSO(__aeabi_memmove8, memmove);

/* The last two arguments of memset, the other way round. */
void __aeabi_memset(void *destination, size_t size, int value);
void __aeabi_memset(void *destination, size_t size, int value)
{
    memset(destination, value, size);
}

void __aeabi_memclr(void *destination, size_t size);
void __aeabi_memclr(void *destination, size_t size)
{
    memset(destination, 0, size);
}

ALSO(__aeabi_memset4, __aeabi_memset);
ALSO(__aeabi_memset8, __aeabi_memset);
ALSO(__aeabi_memclr4, __aeabi_memclr);
ALSO(__aeabi_memclr8, __aeabi_memclr);
