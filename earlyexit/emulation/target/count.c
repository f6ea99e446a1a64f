/*
 * Counts instructions, for the computer that emulates: unicorn calls `count_block` whenever it enters a block of
 * instructions without a branch in between. Thumb instructions have 2 bytes, or 4 where the first five bits are
 * 11101, 11110 or 11111 (Armv7-M Architecture Reference Manual, A5.1).
 */

#include <stdint.h>

typedef struct {
    uint64_t executed;     /* instructions in this block so far, however often it was entered */
    uint32_t size;         /* bytes of the block when it was last entered */
    uint32_t instructions; /* in so many bytes */
} ee_block;

typedef struct {
    const uint8_t *flash;   /* what the emulated program is read from */
    uint32_t flash_bytes;   /* at address 0 */
    ee_block *blocks;       /* at half of their addresses */
    const uint8_t *watched; /* at half of an address: not 0 where a function begins whose calls are noted */
    uint32_t *called;       /* the addresses of noted calls, in order */
    uint64_t *called_at;    /* the total before each of them */
    uint32_t room;          /* for noted calls */
    uint32_t calls;         /* how many there were, noted or not */
    uint64_t total;
    uint64_t outside;       /* blocks that were not in flash */
} ee_counter;

static uint32_t count(const uint8_t *code, uint32_t size)
{
    uint32_t found = 0;
    uint32_t offset = 0;

    while (offset < size) {
        offset += code[offset + 1] >= 0xE8 ? 4 : 2;
        found++;
    }
    return found;
}

void count_block(void *engine, uint64_t address, uint32_t size, void *user)
{
    ee_counter *counter = user;
    const uint32_t begin = (uint32_t)address;
    ee_block *block;

    (void)engine;
    if (begin >= counter->flash_bytes || size > counter->flash_bytes - begin) {
        counter->outside++;
        return;
    }
    block = &counter->blocks[begin / 2];
    if (block->size != size) {
        block->size = size;
        block->instructions = count(counter->flash + begin, size);
    }
    if (counter->watched[begin / 2]) {
        if (counter->calls < counter->room) {
            counter->called[counter->calls] = begin;
            counter->called_at[counter->calls] = counter->total;
        }
        counter->calls++;
    }
    block->executed += block->instructions;
    counter->total += block->instructions;
}
