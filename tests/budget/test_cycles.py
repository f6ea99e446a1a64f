import pytest

from earlyexit.budget import cycles
from earlyexit.budget.blueprint import blueprint
from earlyexit.emulation import emulate, report
from earlyexit.params import load
from earlyexit.quantization.recipe import WeightFormat
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.reader import Operator, Tensor, operators
from tests import ROOT, tiny_network


@pytest.mark.parametrize(("head", "bits"), [("separable", 8), ("separable", 4), ("strided", 8)])
def test_the_estimate_is_close_to_what_the_emulator_counts(head: str, bits: int) -> None:
    params = load(ROOT / "params.yaml")
    given = params.given().model_copy(update={"head": head})
    architecture = params.baseline_architecture().with_exits(given, params.exits.channels)
    models = blueprint(architecture, WeightFormat(bits=bits))
    network = Deployment(architecture.outputs, models, [0] * len(models), architecture.pixels)
    emulated = emulate.emulate(network, network.quantize(tiny_network.images(1, architecture.resolution)))
    layers = [layer for model in models for layer in operators(model)]
    costs = [row["cycles"] for row in report.layer_costs(emulated)]
    counted = sum(costs)
    assert cycles.estimate(layers) == pytest.approx(counted, rel=0.03)
    large = [(layer, cost) for layer, cost in zip(layers, costs, strict=True) if cost > 0.02 * counted]
    assert len(large) > 10
    for layer, cost in large:
        assert cycles.estimate([layer]) == pytest.approx(cost, rel=0.2), layer


def test_an_unknown_layer_is_named() -> None:
    tensor = Tensor(0, (1, 4, 4, 8), "int8", 0.1, 0, 0)
    with pytest.raises(ValueError, match="no estimate for the cycles of a layer SOFTMAX"):
        cycles.estimate([Operator("SOFTMAX", (tensor,), (tensor,), 0, 0)])
