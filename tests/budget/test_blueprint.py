from math import prod
from typing import Any, get_args

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from earlyexit.budget.blueprint import blueprint
from earlyexit.common.files import read_json
from earlyexit.model import checkpoint
from earlyexit.model.architecture import HEAD_STRIDES, Architecture, Head, MobileNetV1Table, MobileNetV2Table
from earlyexit.model.network import EarlyExitNetwork
from earlyexit.quantization import convert
from earlyexit.quantization.recipe import EIGHT_BITS, WeightFormat, Weights
from earlyexit.task import CLASSES
from earlyexit.tflite import arena
from earlyexit.tflite.compact import compact
from earlyexit.tflite.deployment import MANIFEST, Deployment, load
from earlyexit.tflite.reader import interface, operators
from earlyexit.tflite.segment import Segment
from tests import ROOT, tiny_network
from tests.conftest import Exported, deploy
from tests.tiny_network import FAMILIES, Family

MODELS = ROOT / "models"
INPUT: dict[str, Any] = {"width": 1.0, "input_offset": 0, "input_divisor": 255}
# A zero point that two tensors happen to have in common is stored once, and the converter's order of constants, which
# decides on the padding between them, is not followed everywhere: bytes, of small files.
CHANCE = 64


def structure(model: bytes) -> Any:
    """All of a file but the values and the order of its constants."""
    content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    graph = content.subgraphs[0]

    def tensor(number: int) -> Any:
        found = graph.tensors[number]
        record, data = found.quantization, content.buffers[found.buffer].data
        scales = None if record is None else (len(record.scale), len(record.zeroPoint), record.quantizedDimension)
        constant = None if data is None else len(data)
        return tuple(found.shape), found.type, found.name, found.hasRank, scales, constant

    def operator(entry: Any) -> Any:
        code = content.operatorCodes[entry.opcodeIndex]
        ends = [[tensor(number) for number in end] for end in (entry.inputs, entry.outputs)]
        return vars(code), entry.builtinOptionsType, vars(entry.builtinOptions), *ends

    wiring = [number for entry in graph.operators for number in entry.outputs]
    ends = [[tensor(number) for number in end] for end in (graph.inputs, graph.outputs)]
    whole = content.version, content.description, graph.name, len(graph.tensors), len(content.buffers)
    return whole, ends, wiring, [operator(entry) for entry in graph.operators]


def assert_same_cost(architecture: Architecture, models: list[bytes], weights: WeightFormat = EIGHT_BITS) -> None:
    drawn = blueprint(architecture, weights)
    assert len(drawn) == len(models)
    for mine, real in zip(drawn, models, strict=True):
        assert structure(mine) == structure(real)
        assert arena.measure(mine) == arena.measure(real)
        assert arena.peak(mine) == arena.peak(real)
        assert abs(len(mine) - len(real)) <= max(CHANCE, 0.001 * len(real))


def ending_in_a_pixel() -> Architecture:
    table = MobileNetV1Table(stem=4, blocks=[(8, 1, 2), (8, 2, 2), (12, 1, 2)], **INPUT)
    return Architecture(backbone=table, resolution=16, exits=["block2"], head="separable", head_channels=[5])


def with_a_pooled_head() -> Architecture:
    table = MobileNetV2Table(stem=4, blocks=[(2, 8, 2, 2)], last=12, **INPUT)
    return Architecture(backbone=table, resolution=16, exits=["block2"], head="pooled")


def test_costs_what_the_deployed_network_costs(exported: Exported, deployed: Deployment) -> None:
    assert_same_cost(exported.network.architecture, deployed.models)


def test_costs_what_the_network_with_weights_per_tensor_costs(exported: Exported, per_tensor: Deployment) -> None:
    assert_same_cost(exported.network.architecture, per_tensor.models, WeightFormat(per_channel=False))


@pytest.mark.parametrize("weights", ["per_channel", "per_tensor"])
def test_costs_what_the_network_of_four_bits_costs(exported: Exported, weights: Weights) -> None:
    models = deploy(exported, "litert", weights, bits=4).models
    assert_same_cost(exported.network.architecture, models, WeightFormat(weights == "per_channel", bits=4))


def with_strided_heads() -> Architecture:
    """At an even and at an odd size: 6 and 3 pixels."""
    return tiny_network.architecture(resolution=24, exits=["block2", "block4"], head="strided")


@pytest.mark.parametrize("make", [ending_in_a_pixel, with_a_pooled_head, with_strided_heads])
def test_costs_what_another_deployed_network_costs(make: Any) -> None:
    network = tiny_network.network(make()).fold()
    images = tiny_network.images(8, network.resolution)
    real = deploy(Exported(network, convert.to_tflite(network), images), "litert")
    assert_same_cost(make(), real.models)


@pytest.mark.parametrize(("deployed_as", "trained_as"), [("early_exit", "joint"), ("baseline", "baseline")])
def test_costs_what_the_workflows_network_costs(deployed_as: str, trained_as: str) -> None:
    folder = MODELS / "int8" / deployed_as
    if not (folder / MANIFEST).is_file() or read_json(folder / MANIFEST)["quantizer"] != "litert":
        pytest.skip("the ptq stage has not run, or with the other quantizer")
    assert_same_cost(checkpoint.load(MODELS / trained_as).architecture, load(folder).models)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", get_args(Head))
def test_has_the_weights_of_the_folded_network(family: Family, head: Head) -> None:
    architecture = tiny_network.architecture(family, head=head)
    expected = sum(weights.numel() for weights in EarlyExitNetwork(architecture).fold().parameters())
    found = [layer for model in blueprint(architecture) for layer in operators(model) if layer.macs]
    assert sum(prod(tensor.shape) for layer in found for tensor in layer.inputs[1:]) == expected


def test_is_compact_already_and_always_the_same() -> None:
    models = blueprint(tiny_network.architecture())
    assert [compact(model) for model in models] == models
    assert blueprint(tiny_network.architecture()) == models


@pytest.mark.parametrize("family", FAMILIES)
def test_segments_list_the_blocks_between_exits(family: Family) -> None:
    end = ["last"] if family == "mobilenet_v2" else []
    architecture = tiny_network.architecture(family)
    assert architecture.segment_blocks == [["stem", "block1"], ["block2", "block3"], ["block4", "block5", *end]]
    plain = tiny_network.architecture(family, exits=[], head_channels=[])
    assert plain.segment_blocks == [["stem", *(f"block{i}" for i in range(1, 6)), *end]]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_input_takes_every_pixel(family: Family) -> None:
    architecture = tiny_network.architecture(family)
    quantization = Segment(blueprint(architecture)[0]).input_quantization
    low, high = architecture.pixels.range
    reals = [quantization.scale * (level - quantization.zero_point) for level in (-128, 127)]
    assert reals == pytest.approx([low, high], abs=quantization.scale)


def test_answers_spread_over_the_levels() -> None:
    images = np.random.default_rng(0).integers(-128, 128, (8, 40, 40, 3), np.int8)
    for model in blueprint(tiny_network.architecture()):
        segment = Segment(model)
        answers = [segment(image) for image in images]
        assert len({logits.tobytes() for logits, _ in answers}) > 1
        if answers[0][1] is not None:
            images = np.stack([features for _, features in answers if features is not None])
            assert images.std() > 5


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    stride, repeats, channels = st.integers(1, 2), st.integers(1, 2), st.integers(1, 20)
    stem = draw(channels)
    table: Any
    if draw(st.booleans()):
        rows = draw(st.lists(st.tuples(st.integers(1, 3), channels, repeats, stride), min_size=1, max_size=3))
        table = MobileNetV2Table(stem=stem, blocks=rows, last=draw(channels), **INPUT)
    else:
        plain = draw(st.lists(st.tuples(channels, repeats, stride), min_size=1, max_size=3))
        table = MobileNetV1Table(stem=stem, blocks=plain, **INPUT)
    names = [block.name for block in table.block_list()]
    allowed = names if table.family == "mobilenet_v2" else names[:-1]
    exits = [name for name in allowed if draw(st.booleans())]
    head: Head = draw(st.sampled_from(get_args(Head)))
    widths = [draw(channels) for _ in exits]
    return Architecture(
        backbone=table, resolution=draw(st.integers(8, 40)), exits=exits, head=head, head_channels=widths
    )


def brute_force_macs(architecture: Architecture) -> list[int]:
    """Multiply-accumulates of each segment, from the definitions of its layers."""
    table = architecture.backbone
    size = -(-architecture.resolution // 2)
    width = table.scaled(table.stem)
    found: list[int] = []
    total = size**2 * 27 * width
    for block in table.block_list():
        hidden = width * block.expansion
        if block.expansion > 1:
            total += size**2 * width * hidden
        size = -(-size // block.stride)
        total += size**2 * hidden * (9 + block.channels)
        width = block.channels
        if block.name in architecture.exits:
            head = width
            if architecture.head in HEAD_STRIDES:
                head = architecture.head_channels[len(found)]
                total += (-(-size // HEAD_STRIDES[architecture.head])) ** 2 * width * (9 + head)
            found.append(total + head * len(CLASSES))
            total = 0
    if isinstance(table, MobileNetV2Table):
        total += size**2 * width * table.scaled(table.last)
        width = table.scaled(table.last)
    return [*found, total + width * len(CLASSES)]


@settings(max_examples=25)
@given(architecture=architectures(), seed=st.integers(0, 1000))
def test_any_blueprint_runs_alike_in_both_runtimes(architecture: Architecture, seed: int) -> None:
    models = blueprint(architecture)
    assert [sum(layer.macs for layer in operators(model)) for model in models] == brute_force_macs(architecture)
    size = architecture.resolution
    x = np.random.default_rng(seed).integers(-128, 128, (size, size, 3), np.int8)
    before = None
    for model in models:
        segment = Segment(model, reference=True)
        assert before in (None, segment.input_quantization)
        before = segment.features_quantization
        logits, features = segment(x)
        (tflm_logits, *tflm_features) = arena.run(model, x[None])
        # LiteRT's reference kernel rescales a fully connected layer in float, TFLM in integers: one step at most.
        np.testing.assert_allclose(logits.astype(int), tflm_logits[0], atol=1)
        if features is not None:
            np.testing.assert_array_equal(features, tflm_features[0][0])
            x = features
    _, outputs = interface(models[-1])
    assert [tensor.shape for tensor in outputs] == [(1, len(CLASSES))]
