"""The firmware on both emulators: unicorn, which the emulate stage counts with, and QEMU, whose clock ticks in between.

    apt-get install qemu-system-arm
    python -m benchmarks.emulators      after `dvc repro emulate`

Runs models/firmware on three images of val, prints instructions of each segment, and fails where an answer differs or
counts are more than 5 % apart.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earlyexit.dataset import open_split
from earlyexit.emulation import compiler, emulate, emulator, qemu
from earlyexit.emulation.compiler import Image
from earlyexit.tflite import deployment
from stages.emulate import LIBRARY

IMAGES = 3
TOLERANCE = 0.05


def main() -> None:
    """Print the comparison.

    Raises:
        SystemExit: QEMU or a file is missing, an answer differs, or counts are too far apart.
    """
    try:
        network = deployment.load(Path("models/int8/early_exit"))
        library = {name: Path("models/firmware", name).read_text(encoding="utf-8") for name in LIBRARY}
        images = network.quantize(open_split("data/packed", "val").images[:IMAGES])
        flash, ram = emulate.ROOMY
        image = compiler.build(library, flash=flash, ram=ram)
        print(compare(image, images, network.names, emulate.handed_on(network)))
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None


def compare(image: Image, inputs: NDArray[np.int8], names: list[str], features: list[int]) -> str:
    """Return a table of the instructions of each segment, mean over the INT8 `inputs` (N, H, W, 3), on both emulators.

    Args:
        image: with the functions of ee.h and the test firmware.
        inputs: INT8 images.
        names: of the classifiers.
        features: bytes that each segment but the last hands to the next.

    Raises:
        FileNotFoundError, ValueError: QEMU is missing, an answer differs, or counts are too far apart.
    """
    ours, theirs = emulator.run(image, inputs, features), qemu.run(image, inputs)
    if not np.array_equal(ours.logits, theirs.logits) or ours.outcomes != theirs.outcomes:
        raise ValueError("the firmware answers otherwise on QEMU than on unicorn")
    rows = ["| segment | unicorn | QEMU | difference |", "|---|---:|---:|---:|"]
    for name, one, other in zip(names, ours.instructions.mean(1), theirs.instructions.mean(1), strict=True):
        difference = other / one - 1
        rows.append(f"| {name} | {one:,.0f} | {other:,.0f} | {100 * difference:.3f} % |")
        if abs(other - one) > max(TOLERANCE * one, qemu.TICK):
            raise ValueError(f"{name}: {one:,.0f} instructions on unicorn, {other:,.0f} on QEMU")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
