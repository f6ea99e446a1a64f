"""Stage firmware: the INT8 network as a C library for four build systems, and as arrays for TensorFlow Lite Micro."""

import shutil
from pathlib import Path

from earlyexit.common.files import replacing_folder, write_text
from earlyexit.firmware import packages, source, tflm
from earlyexit.params import load
from earlyexit.policy.policies import load_policies
from earlyexit.tflite import deployment
from stages import run


def main() -> None:
    """Write models/firmware; it starts with the exit policy `firmware.policy`."""
    name = load().firmware.policy
    network = deployment.load(Path("models/int8/early_exit"))
    policy = load_policies("models/policies.json").named(name)
    layout = source.lay_out(source.read(network.models))
    library = packages.generate(source.generate(network, policy), layout)
    arrays = tflm.generate(network, policy)
    with replacing_folder(Path("models/firmware")) as folder:
        for name, text in {**library, **{f"tflm/{name}": text for name, text in arrays.items()}}.items():
            write_text(folder / name, text)
        shutil.copy(tflm.EXAMPLE, folder / "tflm")
    print(f"RAM for activations: {layout.plan.size:,} bytes; flash for constants: {source.flash_bytes(layout):,} bytes")


if __name__ == "__main__":
    run(main)
