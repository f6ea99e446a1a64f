"""Short pieces of assembly, run on the emulator, whose cycles Arm's manual gives. P, the pipeline refill, is 2."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from earlyexit.emulation import timings
from earlyexit.emulation.compiler import build
from earlyexit.emulation.emulator import Count, Machine
from earlyexit.emulation.image import Image

# Each is called with r0 and r1 pointing to memory, r2 = 4, r3 to memory, and returns with BX LR.
RETURN = Count(1, 3)  # 1 + P


@dataclass(frozen=True)
class Piece:
    code: str
    instructions: int
    cycles: int


PIECES = {
    "data_processing": Piece("adds r3, r2, #1; eors r3, r2; lsls r3, r2, #3; movw r3, #999; nop", 5, 5),
    "multiplications": Piece("mul r3, r2, r2; mla r3, r2, r2, r3; mls r3, r2, r2, r3; smull r1, r3, r2, r2", 4, 4),
    "dsp": Piece("smlad r3, r2, r2, r3; smmlar r3, r2, r2, r3; ssat r3, #8, r3; sxtb16 r3, r2; pkhbt r3, r2, r3", 5, 5),
    "division": Piece("udiv r3, r2, r2", 1, 12),  # 2 to 12
    # "Load/store timings": "normally three cycles total", and four
    "load_load": Piece("ldr r0, [r1]; ldr r1, [r2]", 2, 3),
    "load_store": Piece("ldr r0, [r1, r2]; str r0, [r3, #20]", 2, 3),
    "load_store_offset": Piece("ldr r0, [r1, r2]; str r1, [r3, r2]", 2, 3),
    "three_loads": Piece("ldr r0, [r1, r2]; ldr r1, [r2]; ldr r2, [r3, #4]", 3, 4),
    "load_of_address": Piece("ldr r3, [r1]; ldr r3, [r3]", 2, 2 + 2),
    "nothing_behind_a_store": Piece("str r2, [r0]; ldr r3, [r0]", 2, 1 + 2),
    "store_offset": Piece("strb r2, [r0, r2]", 1, 2),
    "computed_address": Piece("adds r3, r1, r2; ldr r3, [r3]", 2, 1 + 1 + 2),
    "address_in_time": Piece("adds r3, r1, r2; nop; ldr r3, [r3]", 3, 1 + 1 + 2),
    "pair": Piece("ldrd r2, r3, [r0]", 1, 3),
    "multiple": Piece("ldm r0, {r1, r2, r3}", 1, 1 + 3),
    "store_multiple": Piece("stm r0!, {r1, r2}; ldr r3, [r1]", 2, 1 + 2 + 2),
    "stack": Piece("push {r4, lr}; pop {r4, r12}; nop", 3, 3 + 3 + 1),
    "untaken": Piece("cmp r2, #9; beq 1f; nop; 1:", 3, 1 + 1 + 1),
    "taken": Piece("cmp r2, #4; beq 1f; nop; 1:", 2, 1 + 3),
    "untaken_zero": Piece("cbz r2, 1f; nop; 1:", 2, 1 + 1),
    "taken_zero": Piece("cbnz r2, 1f; nop; 1:", 1, 3),
    "loop": Piece("movs r3, #10; 1: subs r3, #1; bne 1b", 1 + 10 * 2, 1 + 10 + 9 * 3 + 1),
    "call": Piece("push {r4, lr}; bl 1f; pop {r4, lr}; b 2f; 1: bx lr; 2:", 5, 3 + 3 + 3 + 3 + 3),
    "table": Piece("movs r3, #0; tbb [pc, r3]; .byte 1, 1", 2, 1 + 2 + 2),
    "if_then": Piece("cmp r2, #4; it eq; moveq r3, #1", 3, 1 + 0 + 1),
    "if_then_skipped": Piece("cmp r2, #9; ite eq; moveq r3, #1; movne r3, #2", 4, 1 + 0 + 1 + 1),
    "if_then_not_folded": Piece("cmp.w r2, #4; it eq; moveq r3, #1", 3, 1 + 1 + 1),
    "return_skipped": Piece("cmp r2, #9; it eq; popeq {r4, pc}", 3, 1 + 0 + 1),
    "return_by_pop": Piece(
        "push {r4, lr}; bl 1f; pop {r4, lr}; b 2f; 1: push {r4, lr}; cmp r2, #4; it eq; popeq {r4, pc}; 2:",
        8,
        3 + 3 + 3 + 1 + 0 + (1 + 2 + 2) + 3 + 3,
    ),
}
# Extra cycles of loads: a store leaves them to the write buffer.
UNALIGNED = {
    "ldr r3, [r0, #2]": 1,
    "ldr r3, [r0, #1]": 2,
    "ldr r3, [r0, #4]": 0,
    "ldr r3, [r0, r2, lsl #1]": 0,
    "adds r0, #1; ldr r3, [r0, r2, lsl #1]": 2,
    "ldr r3, [r0], #2; ldr r3, [r0]": 1,
    "ldr r3, [r0, #2]!; ldr r3, [r0]": 2,
    "cmp r2, #4; it ne; ldrne r3, [r0, #1]": 0,
    "cmp r2, #4; ite eq; ldreq r3, [r0, #1]; ldrne r3, [r0, #1]": 2,
    "ldrh r3, [r0, #3]": 1,
    "ldrb r3, [r0, #3]": 0,
    "str r3, [r0, #1]": 0,
}


def functions(pieces: dict[str, str]) -> str:
    """C source of a function for each piece of assembly."""
    texts = []
    for name, code in pieces.items():
        lines = re.sub(r"; (\d:)", r"\\n \1", f".syntax unified; {code}; bx lr")
        texts.append(
            f'__attribute__((naked)) void {name}(int a, int b, int c, int d) {{ __asm__ volatile("{lines}"); }}'
        )
    return "\n".join(texts)


@pytest.fixture(scope="module")
def image() -> Image:
    pieces = {name: piece.code for name, piece in PIECES.items()}
    pieces |= {f"unaligned{number}": code for number, code in enumerate(UNALIGNED)}
    pieces |= {"unknown": "nop; svc #1", "twice": "ldr r3, [r0, #1]; ldr r3, [r0, #1]"}
    return build({"f.c": functions(pieces), "main.c": "int main(void) { for (;;) { } }\n"}, roots=list(pieces))


@pytest.fixture(scope="module")
def machines(image: Image) -> Iterator[dict[int, Machine]]:
    yield {refill: Machine(image, refill=refill) for refill in (1, 2)}


def count(machine: Machine, name: str) -> Count:
    place = machine.exchange
    with machine.counting() as costs:
        machine.call(name, place, place + 64, 4, place + 128)
    assert sum(function.cycles for function in costs[0].functions.values()) == costs[0].cycles
    return Count(costs[0].instructions, costs[0].cycles)


@pytest.mark.parametrize("name", PIECES)
def test_pieces_of_assembly(machines: dict[int, Machine], name: str) -> None:
    piece = PIECES[name]
    expected = Count(piece.instructions + RETURN.instructions, piece.cycles + RETURN.cycles)
    assert count(machines[2], name) == expected
    assert count(machines[2], name) == expected


def test_refill(machines: dict[int, Machine]) -> None:
    assert count(machines[2], "loop").cycles - count(machines[1], "loop").cycles == 9 + 1


def test_unaligned_loads(image: Image) -> None:
    machine = Machine(image, loads_only=True)
    found = {code: count(machine, f"unaligned{number}").cycles for number, code in enumerate(UNALIGNED)}
    assert found == UNALIGNED
    assert count(machine, "twice") == Count(0, 4)


def test_an_unknown_instruction(machines: dict[int, Machine], image: Image) -> None:
    address = image.symbol("unknown").address + 2
    for _ in range(2):
        with pytest.raises(ValueError, match=f"unknown: no timing is known of svc #1 at {address:#x}, in unknown"):
            machines[2].call("unknown")


@pytest.mark.parametrize("code", ["00bf ffff ffff", "00bf 00"])
def test_bytes_that_are_no_instruction(code: str) -> None:
    with pytest.raises(ValueError, match=r"no timing is known of the bytes .* at 0x102"):
        timings.block(bytes.fromhex(code), 0x100, refill=2)
