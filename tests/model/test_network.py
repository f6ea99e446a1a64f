import copy
import json
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from earlyexit.model.architecture import Architecture, Head, MobileNetV1Table, MobileNetV2Table
from earlyexit.model.inference import predict
from earlyexit.model.network import ConvUnit, EarlyExitNetwork, InvertedResidual
from earlyexit.packing.decode import decode
from earlyexit.params import load
from tests import ROOT, tiny_network
from tests.tiny_network import FAMILIES, Family

SHARED = ROOT.parent / "shared"
PRETRAINED = SHARED / "pretrained" / "mobilenet_v1_025_vww96.safetensors"
PHOTOS = SHARED / "photos"


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    width = st.sampled_from([4, 8, 12])
    stride = st.integers(1, 2)
    repeats = st.integers(1, 2)
    common: dict[str, Any] = {
        "width": draw(st.sampled_from([0.5, 1.0])),
        "stem": 8,
        "input_offset": 128,
        "input_divisor": 128,
    }
    table: MobileNetV2Table | MobileNetV1Table
    if draw(st.booleans()):
        v2_row = st.tuples(st.integers(1, 3), width, repeats, stride)
        table = MobileNetV2Table(blocks=draw(st.lists(v2_row, min_size=2, max_size=3)), last=16, **common)
        names = [block.name for block in table.block_list()]
    else:
        v1_row = st.tuples(width, repeats, stride)
        table = MobileNetV1Table(blocks=draw(st.lists(v1_row, min_size=2, max_size=3)), **common)
        names = [block.name for block in table.block_list()][:-1]
    exits = sorted(draw(st.sets(st.sampled_from(names), max_size=3)), key=names.index)
    return Architecture(
        backbone=table,
        resolution=draw(st.integers(1, 33)),
        exits=exits,
        head=draw(st.sampled_from(get_args(Head))),
        head_channels=[draw(width) for _ in exits],
    )


def run_segments(network: EarlyExitNetwork, images: Tensor) -> list[Tensor]:
    x = images.permute(0, 2, 3, 1)
    logits = []
    for segment in network.segments():
        if segment.last:
            logits.append(segment(x))
        else:
            answer, x = segment(x)
            logits.append(answer)
    return logits


@settings(max_examples=40)
@given(architectures())
def test_segments_one_after_the_other_are_the_network(architecture: Architecture) -> None:
    network = tiny_network.network(architecture)
    x = network.normalize(torch.from_numpy(tiny_network.images(2, architecture.resolution)))
    with torch.no_grad():
        whole, pieces = network(x), run_segments(network, x)
    assert len(whole) == len(pieces) == len(architecture.outputs)
    assert all(z.shape == (2, 2) for z in whole)
    for a, b in zip(whole, pieces, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@settings(max_examples=40)
@given(architectures())
def test_folding_keeps_the_outputs(architecture: Architecture) -> None:
    network = tiny_network.network(architecture)
    folded = copy.deepcopy(network).fold()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert not folded.training
    x = network.normalize(torch.from_numpy(tiny_network.images(2, architecture.resolution)))
    with torch.no_grad():
        for a, b in zip(network(x), folded(x), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@settings(max_examples=20)
@given(architectures())
def test_every_stride_halves_rounding_up(architecture: Architecture) -> None:
    network = tiny_network.network(architecture)
    blocks = architecture.backbone.block_list()
    size = -(-architecture.resolution // 2)
    expected = []
    for block in blocks:
        size = -(-size // block.stride)
        if block.name in architecture.exits:
            expected.append((1, block.channels, size, size))
    with torch.no_grad():
        features = network.features(torch.zeros(1, 3, architecture.resolution, architecture.resolution))
    assert [tuple(x.shape) for x in features[:-1]] == expected
    assert features[-1].shape[2:] == (size, size)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_is_tensorflows_same(kernel: int, stride: int) -> None:
    import tensorflow as tf

    torch.manual_seed(0)
    unit = ConvUnit(2, 3, kernel=kernel, stride=stride).eval()
    weights = unit.conv.weight.detach().numpy().transpose(2, 3, 1, 0)
    rng = np.random.default_rng(0)
    for height, width in [(1, 1), (2, 3), (5, 5), (6, 6), (7, 4)]:
        x = rng.normal(size=(1, height, width, 2)).astype(np.float32)
        expected = tf.nn.conv2d(x, weights, stride, "SAME").numpy()
        with torch.no_grad():
            found = unit(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
        # The fresh batch norm of `unit` divides by sqrt(1 + 1e-5).
        np.testing.assert_allclose(found, expected / np.sqrt(1 + 1e-5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("family", "tail"), [("mobilenet_v2", ["last"]), ("mobilenet_v1", [])])
def test_blocks_are_named_as_in_the_table(family: Family, tail: list[str]) -> None:
    network = EarlyExitNetwork(tiny_network.architecture(family))
    assert list(network.blocks) == ["stem", "block1", "block2", "block3", "block4", "block5", *tail]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_baseline_is_the_same_network_without_exits(family: Family) -> None:
    network = tiny_network.network(tiny_network.architecture(family))
    baseline = EarlyExitNetwork(tiny_network.architecture(family, exits=[], head_channels=[])).eval()
    state = {name: value for name, value in network.state_dict().items() if not name.startswith("exits.")}
    baseline.load_state_dict(state, strict=True)
    x = network.normalize(torch.from_numpy(tiny_network.images(2)))
    with torch.no_grad():
        (alone,) = baseline(x)
        torch.testing.assert_close(alone, network(x)[-1])


@pytest.mark.parametrize(
    ("family", "expected"), [("mobilenet_v2", {nn.ReLU6, nn.Identity}), ("mobilenet_v1", {nn.ReLU})]
)
def test_activations_of_the_family(family: Family, expected: set[type[nn.Module]]) -> None:
    network = EarlyExitNetwork(tiny_network.architecture(family))
    assert {type(unit.act) for unit in network.blocks.modules() if isinstance(unit, ConvUnit)} == expected
    assert {type(unit.act) for unit in network.exits.modules() if isinstance(unit, ConvUnit)} == {nn.ReLU6}


def test_a_block_that_keeps_its_shape_adds_its_input() -> None:
    network = EarlyExitNetwork(tiny_network.architecture()).eval()
    for name, shape, same in (("block3", (8, 8), True), ("block4", (8, 12), False), ("block5", (12, 12), True)):
        block = network.blocks[name]
        assert isinstance(block, InvertedResidual)
        norm = block.layers[-1].norm
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.zeros_(norm.weight)
        x = torch.randn(1, shape[0], 6, 6)
        with torch.no_grad():
            assert torch.equal(block(x), x if same else torch.zeros(1, shape[1], 3, 3))


def test_normalizes_as_the_architecture_says() -> None:
    network = EarlyExitNetwork(tiny_network.architecture())
    images = tiny_network.images(3)
    found = network.normalize(torch.from_numpy(images))
    assert found.shape == (3, 3, 40, 40)
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), network.architecture.pixels.images(images))


def pretrained() -> EarlyExitNetwork:
    params = load(ROOT / "params.yaml")
    table = params.model.mobilenet_v1
    return EarlyExitNetwork(Architecture(backbone=table, resolution=96)).fold()


@pytest.mark.skipif(not PRETRAINED.is_file(), reason="needs ../shared/pretrained")
def test_mobilenet_v1_has_the_shapes_of_mlperf_tinys_file() -> None:
    theirs = load_file(PRETRAINED)
    weights = [theirs[name] for name in sorted(theirs) if theirs[name].ndim > 1]
    assert [p.shape for p in pretrained().parameters() if p.ndim > 1] == [w.shape for w in weights]


@pytest.mark.skipif(not (PRETRAINED.is_file() and PHOTOS.is_dir()), reason="needs ../shared")
def test_mobilenet_v1_with_mlperf_tinys_weights_sees_persons() -> None:
    network = pretrained()
    theirs = load_file(PRETRAINED)
    ours = list(network.parameters())
    with torch.no_grad():
        for parameter, name in zip(ours, in_order(theirs), strict=True):
            parameter.copy_(theirs[name])
    images, labels = photographs(150)
    logits = predict(network, images, torch.device("cpu"))
    assert (logits[0].argmax(1) == labels).mean() > 0.78  # the file says 85.3 % on other photographs


def in_order(tensors: dict[str, Tensor]) -> list[str]:
    """Names layer by layer, each layer's weight in front of its bias."""
    return sorted(tensors, key=lambda name: (name.split(".")[0], name.endswith("bias")))


def photographs(count: int) -> tuple[np.ndarray, np.ndarray]:
    listing = json.loads((PHOTOS / "annotations" / "instances_val.json").read_text(encoding="utf-8"))
    person = next(entry["id"] for entry in listing["categories"] if entry["name"] == "person")
    step = len(listing["images"]) // count
    chosen = sorted(listing["images"], key=lambda entry: entry["id"])[::step][:count]
    largest = dict.fromkeys((entry["id"] for entry in chosen), 0.0)
    for box in listing["annotations"]:
        if box["category_id"] == person and box["image_id"] in largest:
            largest[box["image_id"]] = max(largest[box["image_id"]], box["bbox"][2] * box["bbox"][3])
    labels = [largest[entry["id"]] > 0.005 * entry["width"] * entry["height"] for entry in chosen]
    files = [(PHOTOS / "images" / "val" / entry["file_name"]).read_bytes() for entry in chosen]
    pixels = [decode(file, e["width"], e["height"], 96) for file, e in zip(files, chosen, strict=True)]
    return np.stack(pixels), np.array(labels, np.int64)
