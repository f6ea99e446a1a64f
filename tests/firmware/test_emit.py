import subprocess
from pathlib import Path

import numpy as np
import pytest

from earlyexit.budget.blueprint import blueprint
from earlyexit.firmware import emit, layers
from earlyexit.firmware.layers import Add, Depthwise, Layer
from earlyexit.params import load, overridden
from earlyexit.tflite import arena
from earlyexit.tflite.deployment import Deployment
from earlyexit.tflite.reader import logits_and_features
from earlyexit.tflite.segment import Segment
from tests import ROOT, tiny_network
from tests.conftest import Exported
from tests.firmware import single_layer
from tests.firmware.host import DEFAULT, KERNELS, build
from tests.tiny_network import FAMILIES, Family

SIZES = """\
#include <stdio.h>
#include "ee_kernels.h"
int main(void) {
    printf("%u %u %u", (unsigned)sizeof(ee_window), (unsigned)sizeof(ee_sum), (unsigned)sizeof(ee_pool));
    return 0;
}
"""


def program(models: list[bytes]) -> str:
    """A program that reads images and writes what each segment gives: features, if any, then logits."""
    parts = ['#include <stdio.h>\n#include <string.h>\n#include "ee_kernels.h"\nstatic uint32_t scratch[4096];\n']
    body = []
    for number, model in enumerate(models):
        segment = layers.read(model, f"segment {number}")
        tensor = f"t{number}_{{}}".format
        parts += [f"static int8_t {tensor(index)}[{size}];\n" for index, size in segment.sizes.items()]
        for layer in segment.layers:
            name = f"s{number}_{layer.name}"
            parts.append(emit.constants(layer, name))
            body.append(emit.call(layer, name, [tensor(i) for i in layer.inputs], tensor(layer.output), "scratch"))
        gives = [segment.logits] if segment.features is None else [segment.features, segment.logits]
        body += [f"fwrite({tensor(index)}, 1, {segment.sizes[index]}, stdout);" for index in gives]
        if segment.features is not None:
            size = segment.sizes[segment.features]
            body.append(f"memcpy(t{number + 1}_0, {tensor(segment.features)}, {size});")
    loop = "".join(f"        {statement}\n" for statement in body)
    return "".join(
        [
            *parts,
            "int main(void) {\n    while (fread(t0_0, sizeof t0_0, 1, stdin) == 1) {\n",
            loop,
            "    }\n    return 0;\n}\n",
        ]
    )


def expected(models: list[bytes], image: np.ndarray) -> bytes:
    """By LiteRT's reference kernels; logits by TFLM, from which LiteRT's are a step away in fully connected layers."""
    given: np.ndarray | None = image
    found = []
    for model in models:
        assert given is not None
        segment = Segment(model, reference=True)
        logits, _ = logits_and_features(arena.run(model, given[None]))
        given = segment(given)[1]
        found += [b"" if given is None else given.tobytes(), logits.tobytes()]
    return b"".join(found)


@pytest.mark.parametrize(
    ("compiler", "dsp", "family"),
    [*((DEFAULT, dsp, family) for dsp in (True, False) for family in FAMILIES), ("clang", True, FAMILIES[0])],
)
def test_segments_in_c_equal_litert_and_tflm(tmp_path: Path, family: Family, compiler: str, dsp: bool) -> None:
    models = blueprint(tiny_network.architecture(family))
    source = tmp_path / "program.c"
    source.write_text(program(models))
    defines = ["EE_EMULATE_DSP"] if dsp else []
    built = build([KERNELS / "ee_kernels.c", source], tmp_path / "program", compiler=compiler, defines=defines)
    images = (tiny_network.images(4).astype(np.int16) - 128).astype(np.int8)
    result = subprocess.run([built], input=images.tobytes(), capture_output=True, check=True)
    assert result.stdout == b"".join(expected(models, image) for image in images)


@pytest.mark.parametrize("dsp", [True, False])
@pytest.mark.parametrize("weights", ["per_tensor", "four_bits"])
def test_other_weights_in_c_equal_litert_and_tflm(
    tmp_path: Path, exported: Exported, request: pytest.FixtureRequest, weights: str, dsp: bool
) -> None:
    network: Deployment = request.getfixturevalue(weights)
    source = tmp_path / "program.c"
    source.write_text(program(network.models))
    defines = ["EE_EMULATE_DSP"] if dsp else []
    built = build([KERNELS / "ee_kernels.c", source], tmp_path / "program", defines=defines)
    images = network.quantize(exported.images[:4])
    result = subprocess.run([built], input=images.tobytes(), capture_output=True, check=True)
    assert result.stdout == b"".join(expected(network.models, image) for image in images)


def test_constants_are_deterministic_and_fit_the_page() -> None:
    for model in blueprint(tiny_network.architecture()):
        for layer, again in zip(*(layers.read(model, "segment").layers for _ in range(2)), strict=True):
            text = emit.constants(layer, layer.name)
            assert text == emit.constants(again, layer.name)
            assert max(map(len, text.splitlines())) <= 110
            assert text.isascii()


def test_flash_is_weights_and_two_or_four_words_a_channel() -> None:
    layer = depthwise(3, 5, channels=7)
    assert emit.flash_bytes(layer) == 44 + (12 + 16) * 7
    pointwise = single_layer.window(
        "CONV_2D",
        single_layer.activation((3, 3, 5), (0.1, 0)),
        np.ones((6, 1, 1, 5), np.int8),
        [0.01] * 6,
        None,
        (0.1, -128),
    )
    (read,) = layers.read(pointwise, "pointwise").layers
    assert emit.flash_bytes(read) == 44 + (8 + 8) * 6


def test_flash_of_weights_of_four_bits_is_half() -> None:
    layer = depthwise(3, 5, channels=7, bits=4)  # two of the three rows of a channel share a word
    assert emit.flash_bytes(layer) == 44 + (8 + 16) * 7
    x = single_layer.activation((3, 3, 5), (0.1, 0))
    weights = np.ones((6, 1, 1, 5), np.int8)
    (read,) = layers.read(single_layer.window("CONV_2D", x, weights, [0.01] * 6, None, (0.1, -128), bits=4), "x").layers
    assert emit.flash_bytes(read) == 44 + (4 + 8) * 6


def test_depthwise_weights_of_four_bits_are_unpacked_to_scratch_memory() -> None:
    four, eight = depthwise(6, 6, zero_point=-128, bits=4), depthwise(6, 6, zero_point=-128)
    words = 1 + 3 + 1  # start, rows, multiplier
    assert emit.scratch_bytes(four) == emit.scratch_bytes(eight) + 4 * words * 4


def test_descriptions_have_the_size_that_flash_counts(tmp_path: Path) -> None:
    # Two pointers are twice as large here, and the description is aligned to 8 bytes instead of 4.
    source = tmp_path / "sizes.c"
    source.write_text(SIZES)
    built = build([source], tmp_path / "sizes")
    sizes = [int(size) for size in subprocess.run([built], capture_output=True, check=True).stdout.split()]
    assert sizes == [44 + 8 + 4, 32, 12]


@pytest.mark.parametrize("width", [6, 12, 24, 48, 200])
def test_depthwise_scratch_is_bounded_unless_a_row_needs_more(width: int) -> None:
    layer = depthwise(width, width, zero_point=-128)
    assert emit.scratch_bytes(layer) <= (2300 if width <= 48 else 4 * 3 * 508)


@pytest.mark.parametrize("backbone", ["mobilenet_v1", "mobilenet_v2"])
def test_no_layer_of_the_projects_networks_runs_in_plain_c(backbone: str) -> None:
    params = overridden(load(ROOT / "params.yaml"), [f"model.backbone={backbone}"])
    read = [layer for model in blueprint(params.architecture()) for layer in layers.read(model, "segment").layers]
    assert all(map(emit.runs_fast, read))
    assert sum(map(emit.exact_channels, read)) < 0.02 * sum(layer.out_shape[2] for layer in read)


def test_wide_and_linear_depthwise_convolutions_run_in_plain_c() -> None:
    assert not emit.runs_fast(depthwise(5, 5))
    assert emit.runs_fast(depthwise(5, 5, zero_point=-128))
    assert not emit.runs_fast(depthwise(5, 300, zero_point=-128))


def test_sum_takes_the_input_of_the_greater_scale_first() -> None:
    x = single_layer.activation((2, 2, 3), (0.1, 3))
    weights = np.ones((3, 1, 1, 3), np.int8)
    for scale, places in ((0.2, (1, 0)), (0.05, (0, 1)), (0.1, (0, 1))):
        layer = layers.read(single_layer.add(x, weights, [0.01], (scale, 0), (0.15, 9)), "add").layers[1]
        assert isinstance(layer, Add)
        assert emit.places(layer) == places
        arguments = ["&n", *(["a", "b"][place] for place in places), "out"]
        assert emit.call(layer, "n", ["a", "b"], "out", "NULL") == f"ee_add({', '.join(arguments)});"


def test_leads() -> None:
    (stem,) = layers.read(
        single_layer.window(
            "CONV_2D",
            single_layer.activation((96, 96, 3), (0.1, 0)),
            np.ones((12, 3, 3, 3), np.int8),
            [0.1] * 12,
            None,
            (0.1, 0),
            stride=(2, 2),
        ),
        "stem",
    ).layers
    # A row of output is as large as two of input; within it 12 bytes are written for 6 that are read.
    assert emit.leads(stem) == {0: 47 * 6}
    assert emit.leads(depthwise(5, 5)) == {0: 0}


def depthwise(height: int, width: int, channels: int = 4, zero_point: int = 0, bits: int = 8) -> Layer:
    model = single_layer.window(
        "DEPTHWISE_CONV_2D",
        single_layer.activation((height, width, channels), (0.1, 0)),
        np.ones((1, 3, 3, channels), np.int8),
        [0.1] * channels,
        None,
        (0.1, zero_point),
        bits=bits,
    )
    (layer,) = layers.read(model, "depthwise").layers
    assert isinstance(layer, Depthwise)
    return layer
