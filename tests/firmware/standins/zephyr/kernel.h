/* The part of Zephyr that the example uses. */
#include <stdint.h>

static inline uint32_t k_cycle_get_32(void)
{
    static uint32_t now;

    return now += 500;
}

#define k_cyc_to_us_floor32(cycles) ((cycles) * 2u)
