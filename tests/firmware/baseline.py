"""A network of one segment, to compare with."""

from earlyexit.common.pixels import Normalization
from earlyexit.tflite import compact, deployment
from earlyexit.tflite.deployment import Deployment
from tests import tiny_network, tiny_tflite


def network() -> Deployment:
    """A stem, a block and a classifier."""
    made = tiny_tflite.Network(tiny_network.RESOLUTION)
    x = made.conv(made.input, 8, stride=2)
    x = made.conv(made.depthwise(x, stride=2), 24, kernel=1)
    model = compact.compact(tiny_tflite.quantized(made.finish(made.dense(made.mean(x), 2))))
    return Deployment(["final"], [model], [deployment.macs(model)], Normalization(offset=128, divisor=128))
