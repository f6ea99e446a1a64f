"""The costs that several stages report."""

from pathlib import Path

from earlyexit.common.files import read_json
from earlyexit.evaluation import costs
from earlyexit.evaluation.costs import Costs
from earlyexit.tflite import deployment


def read() -> dict[str, Costs]:
    """Return the costs of both networks: "macs", "measured" (microseconds) and "emulated" (cycles)."""
    found = counted()
    # In the order in which reports show them.
    return {
        "macs": found["macs"],
        "measured": costs.measured(read_json("models/latency.json")),
        "emulated": found["emulated"],
    }


def counted() -> dict[str, Costs]:
    """Return the costs that do not differ from run to run: "macs" and "emulated"."""
    network, baseline = (deployment.load(Path("models/int8", name)) for name in ("early_exit", "baseline"))
    return {
        "macs": costs.macs(network.macs, sum(baseline.macs)),
        "emulated": costs.emulated(read_json("reports/emulated.json")),
    }
