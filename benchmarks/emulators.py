"""Compare the emulators: unicorn, which counts for the emulate stage, and QEMU, which has a clock.

    apt-get install qemu-system-arm
    python -m benchmarks.emulators      after `dvc repro firmware`

Runs models/firmware on three images of val, prints instructions of each segment, and fails if an answer differs or
the counts are more than 5 % apart.
"""

from pathlib import Path

from earlyexit.dataset import open_split
from earlyexit.emulation import compiler, emulate, qemu
from earlyexit.firmware import packages
from earlyexit.tflite import deployment

IMAGES = 3


def main() -> None:
    """Print the comparison.

    Raises:
        SystemExit: QEMU or a file is missing, an answer differs, or counts are too far apart.
    """
    try:
        network = deployment.load(Path("models/int8/early_exit"))
        library = packages.read_library(Path("models/firmware"))
        images = network.quantize(open_split("data/packed", "val").images[:IMAGES])
        flash, ram = emulate.ROOMY
        image = compiler.build(library, flash=flash, ram=ram)
        print(qemu.compare(image, images, network.names, emulate.features_bytes(network)))
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
