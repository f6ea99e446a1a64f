"""Convert the trained network to ONNX and to float .tflite segments, and compare their logits with PyTorch's."""

import copy
import warnings
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from earlyexit.common.quiet import quiet
from earlyexit.model.network import ConvUnit, EarlyExitNetwork
from earlyexit.tflite.segment import Segment, all_logits

WEIGHT_FLOOR = 1e-3
"""Lower bound of a channel's largest weight, as a share of its bias or of the layer's largest weight (the larger)."""


@torch.no_grad()
def keep_biases(network: EarlyExitNetwork) -> None:
    """Give each channel of `network` (folded) with near-zero weights one small weight, so that its bias survives INT8.

    A quantizer takes the scale of a channel from its largest weight, and stores the bias as a 32-bit multiple of that
    scale times the input's. With near-zero weights the scale is so small that the bias does not fit. Trained backbones
    have such channels. The new weight, `WEIGHT_FLOOR`, is less than a later INT8 step.
    """
    for unit in network.modules():
        if not isinstance(unit, ConvUnit) or unit.conv.bias is None:
            continue
        weight = unit.conv.weight
        floor = WEIGHT_FLOOR * unit.conv.bias.abs().clamp_min(float(weight.abs().max()))
        few = weight.flatten(1).abs().amax(1) < floor
        centre = unit.kernel // 2
        weight[few, 0, centre, centre] = floor[few]


def to_onnx(network: EarlyExitNetwork) -> bytes:
    """Return `network` (folded) as ONNX: `image` (N, 3, R, R), normalized, to `exit1`, ..., `final`, each (N, 2)."""
    size = network.resolution
    names = network.architecture.outputs
    network = copy.deepcopy(network)
    for unit in network.modules():
        if isinstance(unit, nn.ReLU6):
            unit.inplace = False  # the exporter has no operator for it in place, and takes twice as long
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 3, size, size),),
            input_names=["image"],
            output_names=names,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
    model = program.model_proto
    _remove_origins(model)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def to_tflite(network: EarlyExitNetwork) -> list[bytes]:
    """Return each segment of `network` (folded) as a float .tflite file, from NHWC to logits and NHWC features."""
    with quiet():
        import litert_torch  # imported here: it takes seconds and prints warnings

    size = network.resolution
    x = torch.zeros(1, size, size, 3)
    models = []
    for segment in network.segments():
        with quiet(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            models.append(litert_torch.convert(segment.eval(), (x,)).model_content())
            if not segment.last:
                x = segment(x)[1].contiguous()
    return models


def largest_difference(
    network: EarlyExitNetwork, onnx_model: bytes, tflite_models: Sequence[bytes], images: np.ndarray
) -> dict[str, dict[str, float]]:
    """Compare the logits of PyTorch, ONNX Runtime and float LiteRT on `images`, uint8 (N, H, W, 3).

    Returns:
        for "onnxruntime" and "litert", the largest absolute difference from PyTorch's logits of each classifier.
    """
    network.eval()
    x = network.normalize(torch.from_numpy(np.array(images)))
    with torch.no_grad():
        expected = torch.stack(network(x)).numpy()
    session = onnxruntime.InferenceSession(onnx_model, providers=["CPUExecutionProvider"])
    runtime = np.stack(session.run(None, {"image": np.ascontiguousarray(x.numpy())}))
    segments = [Segment(model) for model in tflite_models]
    litert = all_logits(segments, x.permute(0, 2, 3, 1).numpy(), "float LiteRT")
    names = network.architecture.outputs
    return {
        tool: {name: float(np.abs(expected[i] - logits[i]).max()) for i, name in enumerate(names)}
        for tool, logits in (("onnxruntime", runtime), ("litert", litert))
    }


def check_parity(difference: dict[str, dict[str, float]], tolerance: float) -> None:
    """Compare the result of `largest_difference` with `tolerance`.

    Raises:
        ValueError: a difference is larger; names every such runtime and classifier.
    """
    wrong = [
        f"{tool} {name} by {value:.3g}"
        for tool, values in difference.items()
        for name, value in values.items()
        if not value <= tolerance
    ]
    if wrong:
        raise ValueError(
            f"logits differ from PyTorch's by more than export.tolerance = {tolerance}: {', '.join(wrong)}"
        )


def _remove_origins(model: onnx.ModelProto) -> None:
    """Remove stack traces and names of source files, which differ from machine to machine."""
    for node in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info]:
        del node.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
