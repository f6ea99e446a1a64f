"""A Cortex-M4 that counts one instruction after the other: slow, and certain.

unicorn does not report the instructions that an IT block skips, so where one begins all that it holds are counted.
"""

from typing import Any

from unicorn import UC_ARCH_ARM, UC_HOOK_CODE, UC_MODE_MCLASS, UC_MODE_THUMB, Uc
from unicorn.arm_const import (
    UC_ARM_REG_LR,
    UC_ARM_REG_R0,
    UC_ARM_REG_R1,
    UC_ARM_REG_R2,
    UC_ARM_REG_SP,
    UC_CPU_ARM_CORTEX_M4,
)

from earlyexit.emulation.image import Image

BACK = 0x2200_0000


class SlowMachine:
    def __init__(self, image: Image) -> None:
        self.symbols = image.symbols
        self.exchange = self.symbols["exchange"].address
        self.count = 0
        self.conditional: list[int] = []
        self.uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
        self.uc.ctl_set_cpu_model(UC_CPU_ARM_CORTEX_M4)
        for begin in (0, 0x2000_0000, self.exchange, BACK):
            self.uc.mem_map(begin, 1 << 20)
        for address, content in image.loads.items():
            self.uc.mem_write(address, content)
        self.uc.hook_add(UC_HOOK_CODE, self._step)
        self.uc.reg_write(UC_ARM_REG_SP, self.symbols["stack_top"].address)
        self.uc.emu_start(self.symbols["reset"].address | 1, self.symbols["main"].address)

    def call(self, name: str, *arguments: int) -> int:
        """Return how many instructions the call took."""
        for register, value in zip((UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_R2), arguments, strict=False):
            self.uc.reg_write(register, value)
        self.uc.reg_write(UC_ARM_REG_LR, BACK | 1)
        self.uc.reg_write(UC_ARM_REG_SP, self.symbols["stack_top"].address)
        self.count = 0
        self.uc.emu_start(self.symbols[name].address | 1, BACK)
        return self.count

    def _step(self, _uc: Any, address: int, _size: int, _data: Any) -> None:
        if address in self.conditional:
            return
        self.count += 1
        low, high = self.uc.mem_read(address, 2)
        self.conditional = []
        if high == 0xBF and low & 15:
            length = 4 - ((low & 15) & -(low & 15)).bit_length() + 1  # the lowest set bit of the mask ends the block
            place = address + 2
            for _ in range(length):
                self.conditional.append(place)
                place += 4 if self.uc.mem_read(place + 1, 1)[0] >= 0xE8 else 2
            self.count += length
