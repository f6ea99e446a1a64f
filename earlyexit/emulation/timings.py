"""Estimate the cycles that instructions take on a Cortex-M4 whose memories have no wait states.

Source: Arm, Cortex-M4 Processor Technical Reference Manual r0p1 (100166_0001_00), "Table of processor instructions",
"Table of processor DSP instructions" and "Load/store timings". The manual's ranges and choices become:

- A division takes 12 cycles, the most of its 2 to 12: the manual gives no rule for the operands.
- A pipeline refill takes 1 to 3 cycles; the caller chooses.
- An IT takes no cycle behind a 16-bit instruction, onto which it is folded, and one elsewhere.
- A load of one register takes 2 cycles, and 1 directly behind another one that does not load its address. A store
  takes 1; with a register offset 2, and 1 behind a load. Nothing is pipelined behind a store.
- A load or store waits one more cycle for an address register that the instruction before it has computed.
- An instruction whose condition is false takes 1 cycle. Within a block it is charged as if its condition were true,
  since the emulator counts blocks.

MLA and MLS take 1 cycle: they take 2 on the Cortex-M3.
"""

from dataclasses import dataclass

from capstone import CS_ARCH_ARM, CS_MODE_MCLASS, CS_MODE_THUMB, Cs, CsInsn
from capstone.arm_const import ARM_CC_AL, ARM_CC_INVALID, ARM_OP_MEM, ARM_OP_REG, ARM_REG_PC, ARM_REG_SP

DIVISION = 12

_ONE_CYCLE = """
adc add adr and asr bfc bfi bic clz cmn cmp eor lsl lsr mov movt movw mvn nop orn orr rbit rev rev16 revsh ror
rrx rsb sbc sbfx sub sxtb sxth teq tst ubfx uxtb uxth
mla mls mul smlal smull ssat umlal umull usat
pkhbt pkhtb qadd qadd16 qadd8 qasx qdadd qdsub qsax qsub qsub16 qsub8 sadd16 sadd8 sasx sel shadd16 shadd8 shasx
shsax shsub16 shsub8 smlabb smlabt smlad smladx smlalbb smlalbt smlald smlaldx smlaltb smlaltt smlatb smlatt smlawb
smlawt smlsd smlsdx smlsld smlsldx smmla smmlar smmls smmlsr smmul smmulr smuad smuadx smulbb smulbt smultb smultt
smulwb smulwt smusd smusdx ssat16 ssax ssub16 ssub8 sxtab sxtab16 sxtah sxtb16 uadd16 uadd8 uasx uhadd16 uhadd8
uhasx uhsax uhsub16 uhsub8 umaal uqadd16 uqadd8 uqasx uqsax uqsub16 uqsub8 usad8 usada8 usat16 usax usub16 usub8
uxtab uxtab16 uxtah uxtb16
"""
_ONE = frozenset(_ONE_CYCLE.split())
_DIVISIONS = frozenset({"sdiv", "udiv"})
_LOADS = frozenset({"ldr", "ldrb", "ldrh", "ldrsb", "ldrsh"})
_SIZES = {"ldr": 4, "ldrh": 2, "ldrsh": 2}
_STORES = frozenset({"str", "strb", "strh"})
_PAIRS = frozenset({"ldrd", "strd"})
_MULTIPLES = frozenset({"ldm", "ldmdb", "stm", "stmdb"})
_STACK = frozenset({"pop", "push"})
_TABLE_BRANCHES = frozenset({"tbb", "tbh"})
_COMPARING_BRANCHES = frozenset({"cbz", "cbnz"})
_BRANCHES = frozenset({"b", "bl", "blx", "bx"}) | _COMPARING_BRANCHES
_MEMORY = _LOADS | _STORES | _PAIRS | _MULTIPLES | _STACK


@dataclass(frozen=True)
class Timing:
    """A block of instructions, entered at its begin and left at its end.

    Attributes:
        instructions: in the block.
        through: cycles if the next instruction that runs lies directly behind it: no branch, or an untaken one.
        taken: cycles if the block ends with a taken branch.
    """

    instructions: int
    through: int
    taken: int


@dataclass(frozen=True)
class Load:
    """A load of `size` bytes from base + (index << shift) + offset.

    `address` is the instruction's own. Registers have capstone's numbers, which are unicorn's too; no index is 0.
    """

    address: int
    size: int
    base: int
    index: int
    shift: int
    offset: int


def block(code: bytes, address: int, refill: int) -> Timing:
    """Return the timing of the block of Thumb instructions `code`.

    Args:
        code: the bytes of the block.
        address: of its first instruction.
        refill: cycles of a pipeline refill.

    Raises:
        ValueError: an instruction has no known timing; names it and its address.
    """
    instructions = _disassembled(code, address)
    costs = [_cycles(one, before) for one, before in zip(instructions, [None, *instructions], strict=False)]
    through, last = sum(costs), instructions[-1]
    if not _branches(last):
        return Timing(len(costs), through, through)
    taken = through + refill
    # A skipped branch takes one cycle, also one that would load registers.
    return Timing(len(costs), through - costs[-1] + 1 if _conditional(last) else taken, taken)


def loads(code: bytes, address: int) -> list[Load]:
    """Return the loads of a word or a halfword in a block, but for those of constants behind the code.

    Raises:
        ValueError: the block holds something else than instructions.
    """
    found = []
    for instruction in _disassembled(code, address):
        size = _SIZES.get(_name(instruction), 0)
        if size and ARM_REG_PC not in _address(instruction):
            place = instruction.operands[1]
            memory = place.mem
            shift = place.shift.value if memory.index else 0
            found.append(Load(instruction.address, size, memory.base, memory.index, shift, memory.disp))
    return found


def _disassembled(code: bytes, address: int) -> list[CsInsn]:
    disassembler = Cs(CS_ARCH_ARM, CS_MODE_THUMB | CS_MODE_MCLASS)  # its own: networks run in threads
    disassembler.detail = True
    instructions = list(disassembler.disasm(code, address))
    known = sum(instruction.size for instruction in instructions)
    if known != len(code):
        raise ValueError(f"no timing is known of the bytes {code[known:][:4].hex(' ')} at {address + known:#x}")
    return instructions


def _cycles(instruction: CsInsn, before: CsInsn | None) -> int:
    """Return the cycles of an instruction behind `before`, without the refill of a branch."""
    name = _name(instruction)
    if name in _ONE or name in _BRANCHES or instruction.mnemonic.startswith("nop"):
        return 1
    if name == "it":
        return 0 if before is not None and before.size == 2 else 1
    if name in _DIVISIONS:
        return DIVISION
    if name in _TABLE_BRANCHES:
        return 2
    if name not in _MEMORY:
        text = f"{instruction.mnemonic} {instruction.op_str}".strip()
        raise ValueError(f"no timing is known of {text} at {instruction.address:#x}")
    place = _address(instruction)
    previous = _name(before) if before is not None else ""
    waits = int(before is not None and previous not in _MEMORY and not place.isdisjoint(before.regs_access()[1]))
    if name in _PAIRS:
        return 3 + waits
    if name in _MULTIPLES or name in _STACK:
        registers = sum(bool(operand.type == ARM_OP_REG) for operand in instruction.operands)
        return 1 + registers - int(name in _MULTIPLES) + waits
    pipelined = before is not None and previous in _LOADS and before.operands[0].reg not in place
    stored = name in _STORES and len(place) == 1
    return (1 if pipelined or stored else 2) + waits


def _address(instruction: CsInsn) -> set[int]:
    """Return the registers that the address of a load or store is computed from."""
    if _name(instruction) in _STACK:
        return {ARM_REG_SP}
    if _name(instruction) in _MULTIPLES:
        return {instruction.operands[0].reg}
    memory = [operand.mem for operand in instruction.operands if operand.type == ARM_OP_MEM]
    return {register for place in memory for register in (place.base, place.index) if register}


def _branches(instruction: CsInsn) -> bool:
    name = _name(instruction)
    return name in _BRANCHES or name in _TABLE_BRANCHES or ARM_REG_PC in instruction.regs_access()[1]


def _conditional(instruction: CsInsn) -> bool:
    return _name(instruction) in _COMPARING_BRANCHES or instruction.cc not in (ARM_CC_INVALID, ARM_CC_AL)


def _name(instruction: CsInsn) -> str:
    """Return the mnemonic without condition, width and S."""
    return str(instruction.insn_name())
