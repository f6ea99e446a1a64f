"""Run the firmware on QEMU's Cortex-M4 to check the emulator: QEMU reports a clock instead of a count."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earlyexit.common.markdown import percent, table
from earlyexit.emulation import library
from earlyexit.emulation.image import Image
from earlyexit.policy.cascade import Outcome

PROGRAM = "qemu-system-arm"
TICK = 40  # instructions: -icount shift=0 gives one a nanosecond, and the board's SysTick runs at 25 MHz
TOLERANCE = 0.05  # between the instructions on both emulators
_EXCHANGE_BYTES = 1 << 24
_HEADER_BYTES = 16


@dataclass(frozen=True)
class QemuTrace:
    """What the test firmware printed for N images.

    Attributes:
        logits: of each segment, int8 (segments, N, 2).
        outcomes: of the cascade.
        instructions: of each segment and image (segments, N), in steps of `TICK`.
        cascade: instructions of the cascade (N,), in steps of `TICK`; they include copying the image.
    """

    logits: NDArray[np.int8]
    outcomes: list[Outcome]
    instructions: NDArray[np.int64]
    cascade: NDArray[np.int64]


def available() -> bool:
    """Return whether QEMU is installed."""
    return shutil.which(PROGRAM) is not None


def run(image: Image, inputs: NDArray[np.int8], timeout: float = 300) -> QemuTrace:
    """Run the test firmware of target/main.c on INT8 images (N, H, W, 3), on QEMU's board mps2-an386.

    Raises:
        FileNotFoundError: QEMU is not installed.
        ValueError: there are too many images, a call of the firmware failed, or it took more than `timeout` seconds.
    """
    if not available():
        raise FileNotFoundError(f"{PROGRAM} is not installed: apt-get install qemu-system-arm")
    content = np.array([len(inputs), 0, 0, 0], np.uint32).tobytes() + inputs.tobytes()
    if len(content) > _EXCHANGE_BYTES:
        room = (_EXCHANGE_BYTES - _HEADER_BYTES) // inputs[0].nbytes
        raise ValueError(f"{len(inputs)} images, the board has room for {room}")
    with tempfile.TemporaryDirectory(prefix="earlyexit-") as folder:
        firmware, exchange = Path(folder, "firmware.elf"), Path(folder, "exchange.bin")
        firmware.write_bytes(image.content)
        exchange.write_bytes(content)
        loader = f"loader,file={exchange},addr={image.symbol('exchange').address:#x},force-raw=on"
        command = [PROGRAM, "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none"]
        command += ["-semihosting-config", "enable=on,target=native", "-icount", "shift=0"]
        command += ["-kernel", str(firmware), "-device", loader]
        try:
            process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise ValueError(f"{PROGRAM} was not done after {timeout:g} seconds") from None
    if process.returncode:
        raise ValueError(f"{PROGRAM} ended with {process.returncode}: {process.stderr.strip()}")
    return _parse(process.stdout + process.stderr, len(inputs))  # semihosting prints to either, by version


def compare(image: Image, inputs: NDArray[np.int8], names: Sequence[str], features: Sequence[int]) -> str:
    """Return a Markdown table of the mean instructions of each segment on both emulators.

    Args:
        image: with the functions of ee.h and the test firmware.
        inputs: INT8 images (N, H, W, 3).
        names: of the classifiers.
        features: bytes of the features of each segment but the last.

    Raises:
        FileNotFoundError: QEMU is not installed.
        ValueError: an answer differs, or the instructions differ by more than `TOLERANCE`.
    """
    ours, theirs = library.run(image, inputs, features), run(image, inputs)
    decided = library.decide(image, inputs, len(names), [None]).outcomes[0]
    outcomes = [Outcome(*row) for row in decided.tolist()]
    if not np.array_equal(ours.logits, theirs.logits) or outcomes != theirs.outcomes:
        raise ValueError("the firmware answers otherwise on QEMU than on unicorn")
    rows = []
    for name, one, other in zip(names, ours.instructions.mean(1), theirs.instructions.mean(1), strict=True):
        if abs(other - one) > max(TOLERANCE * one, TICK):
            raise ValueError(f"{name}: {one:,.0f} instructions on unicorn, {other:,.0f} on QEMU")
        rows.append([name, f"{one:,.0f}", f"{other:,.0f}", f"{percent(other / one - 1, 3)} %"])
    return "\n".join(table(["segment", "unicorn", "QEMU", "difference"], rows))


def _parse(text: str, count: int) -> QemuTrace:
    segments: list[tuple[int, int, int]] = []
    cascades: list[tuple[int, Outcome]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        kind, *numbers = line.split()
        values = [int(number) for number in numbers] if kind in ("segment", "cascade") else []
        if kind == "segment" and values[0] == 0:
            segments.append((values[1], values[2], values[3]))
        elif kind == "cascade":
            cascades.append((values[0], Outcome(*values[1:])))
        else:
            raise ValueError(f"the firmware on {PROGRAM} said: {line}")
    if len(cascades) != count or count == 0:
        raise ValueError(f"the firmware on {PROGRAM} answered for {len(cascades)} of {count} images")
    table = np.array(segments, np.int64).reshape(count, -1, 3).swapaxes(0, 1)
    return QemuTrace(
        logits=table[:, :, 1:].astype(np.int8),
        outcomes=[outcome for _, outcome in cascades],
        instructions=table[:, :, 0] * TICK,
        cascade=np.array([ticks for ticks, _ in cascades], np.int64) * TICK,
    )
