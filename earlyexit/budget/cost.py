"""What an image costs on a network of a given architecture, from its blueprint."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from earlyexit.budget import cycles
from earlyexit.budget.blueprint import blueprint
from earlyexit.model.architecture import Architecture
from earlyexit.tflite.reader import Operator, operators


def estimated_cycles(architecture: Architecture) -> float:
    """Return the estimated cycles of a Cortex-M4 for an image that no early exit stops."""
    return cycles.estimate(_operators(architecture))


def macs(architecture: Architecture) -> float:
    """Return the multiply-accumulates for an image that no early exit stops."""
    return float(sum(operator.macs for operator in _operators(architecture)))


COSTS: Mapping[str, Callable[[Architecture], float]] = MappingProxyType({"cycles": estimated_cycles, "macs": macs})
"""By the names of params.yaml."""


def _operators(architecture: Architecture) -> list[Operator]:
    return [operator for model in blueprint(architecture) for operator in operators(model)]
