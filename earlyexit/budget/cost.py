"""What an image costs on a network of a given architecture, from its blueprint."""

from collections.abc import Callable
from functools import partial

from earlyexit.budget import cycles
from earlyexit.budget.blueprint import blueprint
from earlyexit.model.architecture import Architecture
from earlyexit.quantization.recipe import EIGHT_BITS, WeightFormat
from earlyexit.tflite.reader import Operator, operators


def estimated_cycles(architecture: Architecture, weights: WeightFormat = EIGHT_BITS) -> float:
    """Return the estimated cycles of a Cortex-M4 for an image that no early exit stops."""
    return cycles.estimate(_operators(architecture, weights))


def macs(architecture: Architecture, weights: WeightFormat = EIGHT_BITS) -> float:
    """Return the multiply-accumulates for an image that no early exit stops; `weights` make no difference."""
    return float(sum(operator.macs for operator in _operators(architecture, weights)))


def cost(name: str, weights: WeightFormat = EIGHT_BITS) -> Callable[[Architecture], float]:
    """Return the function of the cost that params.yaml calls `name`, "cycles" or "macs"."""
    return partial({"cycles": estimated_cycles, "macs": macs}[name], weights=weights)


def _operators(architecture: Architecture, weights: WeightFormat) -> list[Operator]:
    return [operator for model in blueprint(architecture, weights) for operator in operators(model)]
