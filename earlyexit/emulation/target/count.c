/*
 * Counts instructions and cycles, on the computer that emulates. unicorn calls `count_block` whenever it enters a block
 * of instructions without a branch in between, and `count_load` before every instruction if unaligned loads are counted.
 */

#include <stdint.h>

typedef struct {
    uint64_t executed;     /* instructions in this block so far, however often it was entered */
    uint64_t cycles;       /* that it has taken so far */
    uint32_t size;         /* bytes of the block when it was last entered; `describe` writes this and what follows */
    uint32_t instructions; /* in so many bytes */
    uint32_t through;      /* cycles where the next block lies directly behind */
    uint32_t taken;        /* cycles where it lies elsewhere: a branch was taken */
} ee_block;

/* A load from base + (index << shift) + offset. */
typedef struct {
    int32_t offset;
    uint8_t size;  /* bytes; 0: no load, or one that is always aligned */
    uint8_t base;  /* unicorn's number of the register */
    uint8_t index; /* also, or 0 */
    uint8_t shift;
} ee_load;

typedef struct {
    uint32_t flash_bytes;     /* at address 0 */
    ee_block *blocks;         /* at half of their addresses */
    void (*describe)(uint32_t begin, uint32_t size);
    const uint8_t *watched;   /* at half of an address: not 0 where a function begins whose calls are noted */
    uint32_t *called;         /* the addresses of noted calls, in order */
    uint64_t (*called_at)[2]; /* the totals before each of them: instructions, cycles */
    uint32_t room;            /* for noted calls */
    uint32_t calls;           /* how many there were, noted or not */
    uint64_t instructions;    /* total */
    uint64_t cycles;          /* total, without those of the block that runs */
    uint64_t outside;         /* blocks that were not in flash */
    ee_block *block;          /* that runs, or NULL */
    uint32_t end;             /* its end */
    const ee_load *loads;     /* at half of their addresses, or NULL */
    int (*read)(void *engine, int number, void *value); /* unicorn's function that reads a register */
} ee_counter;

static uint32_t value(const ee_counter *counter, void *engine, int number)
{
    uint32_t found = 0;

    if (number) {
        counter->read(engine, number, &found);
    }
    return found;
}

/* The block that runs is left for the one at `next`. */
void count_left(ee_counter *counter, uint32_t next)
{
    ee_block *block = counter->block;
    uint32_t cycles;

    if (block) {
        cycles = next == counter->end ? block->through : block->taken;
        block->cycles += cycles;
        counter->cycles += cycles;
        counter->block = 0;
    }
}

void count_block(void *engine, uint64_t address, uint32_t size, void *user)
{
    ee_counter *counter = user;
    const uint32_t begin = (uint32_t)address;
    ee_block *block;

    (void)engine;
    count_left(counter, begin);
    if (begin >= counter->flash_bytes || size > counter->flash_bytes - begin) {
        counter->outside++;
        return;
    }
    block = &counter->blocks[begin / 2];
    if (block->size != size) {
        counter->describe(begin, size);
    }
    if (counter->watched[begin / 2]) {
        if (counter->calls < counter->room) {
            counter->called[counter->calls] = begin;
            counter->called_at[counter->calls][0] = counter->instructions;
            counter->called_at[counter->calls][1] = counter->cycles;
        }
        counter->calls++;
    }
    block->executed += block->instructions;
    counter->instructions += block->instructions;
    counter->block = block;
    counter->end = begin + size;
}

/* A load from an address that is not aligned takes one more cycle, or two where a word is read from an odd address. */
void count_load(void *engine, uint64_t address, uint32_t size, void *user)
{
    ee_counter *counter = user;
    const ee_load *load;
    uint32_t place, aside, cycles;

    (void)size;
    if (address >= counter->flash_bytes) {
        return;
    }
    load = &counter->loads[address / 2];
    if (load->size == 0) {
        return;
    }
    place = value(counter, engine, load->base) + (value(counter, engine, load->index) << load->shift);
    aside = (place + (uint32_t)load->offset) & (load->size - 1u);
    if (aside) {
        cycles = load->size == 4 && (aside & 1u) ? 2u : 1u;
        counter->block->cycles += cycles;
        counter->cycles += cycles;
    }
}
