/*
 * Classifies images: reads them one behind the other from the standard input, pixels as bytes, row by row,
 * red, green and blue side by side, and prints a line for each. On a device a camera takes the place of
 * fread.
 *
 *     cc -std=c99 -O3 -Isrc examples/host/example_main.c \
 *        src/ee_network.c src/ee_kernels.c -o example
 *     ./example < images.rgb
 */

#include <stdint.h>
#include <stdio.h>

#include "ee.h"

/* Reads an image to where the network takes it; 0 where there is none left. */
static int read_image(int8_t *image)
{
    size_t i;

    if (fread(image, 1, EE_IMAGE_BYTES, stdin) != EE_IMAGE_BYTES) {
        return 0;
    }
    for (i = 0; i < EE_IMAGE_BYTES; i++) {
        image[i] = ee_quantize((uint8_t)image[i]);
    }
    return 1;
}

int main(void)
{
    ee_result result;

    ee_init();
    while (read_image(ee_input())) {
        const int status = ee_run(ee_input(), &result);

        if (status != EE_OK) {
            fprintf(stderr, "error %d\n", status);
            return 1;
        }
        printf("%s: exit %d, margin %d\n", ee_labels[result.label], result.exit, result.margin);
    }
    return 0;
}
