/* Classifies a grey picture and prints the answer, with the time that it took. A camera takes the place of memset. */

#include <string.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

#include "ee.h"

int main(void)
{
    ee_result result;
    uint32_t start;
    int status;

    ee_init();
    memset(ee_input(), ee_quantize(128), EE_IMAGE_BYTES);
    start = k_cycle_get_32();
    status = ee_run(ee_input(), &result);
    start = k_cycle_get_32() - start;
    if (status != EE_OK) {
        printk("error: ee_run returned %d\n", status);
        return 0;
    }
    printk("%s: exit %d, margin %d, %u us\n", ee_labels[result.label], result.exit, result.margin,
           (unsigned)k_cyc_to_us_floor32(start));
    return 0;
}
