"""Estimate the cycles of a network on a Cortex-M4, by segment and kind of layer, and the milliseconds they take.

    python -m benchmarks.cycles [folder of INT8 segments, models/int8/early_exit by default]

Runs the C library of the segments on one image of random pixels and fails if an answer differs from TFLM's. Takes
`emulate.refill` and `emulate.clock_mhz` from params.yaml.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from earlyexit import params
from earlyexit.common.markdown import bold, table, thousands
from earlyexit.emulation import emulate, report
from earlyexit.tflite import deployment


def main(arguments: Sequence[str]) -> None:
    """Print the tables for the segments in the folder that `arguments` names.

    Raises:
        SystemExit: a file is wrong, an instruction has no known timing, or an answer differs.
    """
    try:
        network = deployment.load(Path(arguments[0] if arguments else "models/int8/early_exit"))
        print(measure(network, params.load().emulate))
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None


def measure(network: deployment.Deployment, chosen: params.EmulateParams) -> str:
    """Return the tables of `network`: costs of each segment, then of each kind of layer."""
    shape = (1, *network.segments()[0].input_shape)
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    emulated = emulate.emulate(network, network.quantize(pixels), refill=chosen.refill)
    counts = np.stack([emulated.trace.cycles[:, 0], emulated.trace.instructions[:, 0], network.macs], 1)
    rows = []
    for name, row in zip([*network.names, bold("all")], [*counts, counts.sum(0)], strict=True):
        cycles, instructions, macs = row.tolist()
        milliseconds = f"{cycles / chosen.clock_mhz / 1000:.1f}"
        rows.append([name, *map(thousands, (cycles, instructions, macs)), f"{cycles / macs:.2f}", milliseconds])
    heads = ["segment", "estimated cycles", "instructions", "MACs", "estimated cycles per MAC"]
    return "\n".join(
        [
            *table([*heads, f"estimated ms at {chosen.clock_mhz} MHz"], rows),
            "",
            *report.by_kind(report.layer_costs(emulated)),
        ]
    )


if __name__ == "__main__":
    main(sys.argv[1:])
