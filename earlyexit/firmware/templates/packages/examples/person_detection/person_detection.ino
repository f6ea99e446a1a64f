/*
 * Classifies frames from the serial port; send_frames.py beside this file sends pictures from a computer.
 *
 * A frame begins with eight bytes: "RGB1", then width and height, 16 bits each, the low byte first. Its pixels follow,
 * row by row, red, green and blue side by side. The answer is a line: "person: exit 0, margin 37, 25100 us", or
 * "error: " with what was wrong. All other bytes between frames are skipped.
 */

#include <ee.h>

static const unsigned long BAUD = 921600; // boards with native USB ignore it
static const unsigned long TIMEOUT_MS = 2000;
static const char MAGIC[] = "RGB1"; // four different bytes: a mismatch can only be the first of them
static unsigned matched = 0;

static void classify() {
    uint8_t size[4];
    if (Serial.readBytes((char *)size, sizeof size) != sizeof size) {
        Serial.println("error: frame cut short");
        return;
    }
    const unsigned width = size[0] | size[1] << 8, height = size[2] | size[3] << 8;
    if (width != EE_IMAGE_WIDTH || height != EE_IMAGE_HEIGHT) {
        Serial.print("error: frame of ");
        Serial.print(width);
        Serial.print("x");
        Serial.print(height);
        Serial.println(" pixels, expected ${width}x$height");
        return;
    }
    int8_t *image = ee_input();
    if (Serial.readBytes((char *)image, EE_IMAGE_BYTES) != EE_IMAGE_BYTES) {
        Serial.println("error: frame cut short");
        return;
    }
    const unsigned long start = micros();
    for (unsigned long i = 0; i < EE_IMAGE_BYTES; i++) {
        image[i] = ee_quantize((uint8_t)image[i]);
    }
    ee_result result;
    const int status = ee_run(image, &result);
    const unsigned long took = micros() - start;
    if (status != EE_OK) {
        Serial.print("error: ee_run returned ");
        Serial.println(status);
        return;
    }
    Serial.print(ee_labels[result.label]);
    Serial.print(": exit ");
    Serial.print(result.exit);
    Serial.print(", margin ");
    Serial.print(result.margin);
    Serial.print(", ");
    Serial.print(took);
    Serial.println(" us");
}

void setup() {
    Serial.begin(BAUD);
    Serial.setTimeout(TIMEOUT_MS);
    ee_init();
}

void loop() {
    if (Serial.available() == 0) {
        return;
    }
    const int value = Serial.read();
    matched = value == MAGIC[matched] ? matched + 1 : value == MAGIC[0];
    if (matched == 4) {
        matched = 0;
        classify();
    }
}
