"""The kernels in plain C against loops with the structure of TFLM's reference kernels, on Cortex-M0+ and RISC-V.

    python -m benchmarks.portable [folder of INT8 segments, models/int8/early_exit by default]

Prints instructions of both for every layer and one image, and fails where bytes differ or where a layer takes more
instructions than the reference.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from earlyexit.emulation import portable
from earlyexit.tflite import deployment


def main(arguments: Sequence[str]) -> None:
    """Print the comparison for the segments in the folder that `arguments` names.

    Raises:
        SystemExit: a file is wrong, a byte differs, or a layer takes more instructions than the reference.
    """
    try:
        network = deployment.load(Path(arguments[0] if arguments else "models/int8/early_exit"))
        shape = network.segments()[0].input_shape
        pixels = np.random.default_rng(0).integers(0, 256, (1, *shape)).astype(np.uint8)
        text, slower = portable.compare(network.models, network.quantize(pixels))
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None
    print(text)
    if slower:
        raise SystemExit(f"more instructions than the reference: {', '.join(slower)}")


if __name__ == "__main__":
    main(sys.argv[1:])
