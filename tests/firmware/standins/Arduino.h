/* The part of Arduino's core that the sketch uses: Serial is the standard input and output, which ends the program. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct Port {
    void begin(unsigned long) {}
    void setTimeout(unsigned long) {}
    int available() {
        const int next = getchar();
        if (next == EOF) {
            exit(0);
        }
        ungetc(next, stdin);
        return 1;
    }
    int read() { return getchar(); }
    size_t readBytes(char *to, size_t count) { return fread(to, 1, count, stdin); }
    void print(const char *text) { fputs(text, stdout); }
    void print(long value) { printf("%ld", value); }
    void print(int value) { printf("%d", value); }
    void print(unsigned value) { printf("%u", value); }
    void print(unsigned long value) { printf("%lu", value); }
    template <typename T> void println(T value) {
        print(value);
        fputs("\r\n", stdout);
    }
};

static Port Serial;
static inline unsigned long micros() {
    static unsigned long now = 0;
    return now += 1000;
}
