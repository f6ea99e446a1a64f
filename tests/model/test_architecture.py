import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earlyexit.model.architecture import Architecture, MobileNetV1Table, MobileNetV2Table
from tests import tiny_network
from tests.tiny_network import FAMILIES, Family

INPUT: dict[str, Any] = {"input_offset": 0, "input_divisor": 255}


def test_a_rows_stride_belongs_to_its_first_block() -> None:
    table = MobileNetV2Table(width=1.0, stem=8, last=16, blocks=[(1, 8, 1, 2), (6, 16, 3, 2), (6, 16, 1, 1)], **INPUT)
    blocks = table.block_list()
    assert [block.name for block in blocks] == ["block1", "block2", "block3", "block4", "block5"]
    assert [block.stride for block in blocks] == [2, 2, 1, 1, 1]
    assert [block.expansion for block in blocks] == [1, 6, 6, 6, 6]
    assert [block.channels for block in blocks] == [8, 16, 16, 16, 16]


@given(width=st.floats(0.01, 4), channels=st.integers(1, 4096))
def test_channels_are_scaled_to_the_nearest_multiple_of_4(width: float, channels: int) -> None:
    scaled = MobileNetV1Table(width=width, stem=8, blocks=[(8, 1, 1)], **INPUT).scaled(channels)
    assert scaled % 4 == 0
    assert scaled >= 4
    assert scaled == 4 or abs(scaled - channels * width) <= 2 + 1e-9


@given(offset=st.integers(0, 255), divisor=st.integers(1, 255))
def test_pixels_are_normalized_into_the_input_range(offset: int, divisor: int) -> None:
    table = MobileNetV1Table(width=1.0, stem=8, blocks=[(8, 1, 1)], input_offset=offset, input_divisor=divisor)
    architecture = Architecture(backbone=table, resolution=32)
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    found = architecture.pixels.images(pixels)
    assert found.dtype == np.float32
    assert found.shape == pixels.shape
    np.testing.assert_allclose(found.ravel(), (np.arange(256) - offset) / divisor, rtol=1e-6)
    assert (found.min(), found.max()) == architecture.pixels.range


@pytest.mark.parametrize("family", FAMILIES)
def test_survives_json(family: Family) -> None:
    before = tiny_network.architecture(family)
    after = Architecture.model_validate(json.loads(json.dumps(before.model_dump())), strict=False)
    assert after == before
    assert type(after.backbone) is type(before.backbone)


def test_classifiers_are_named_in_order() -> None:
    assert tiny_network.architecture().outputs == ["exit1", "exit2", "final"]
    assert tiny_network.architecture(exits=[], head_channels=[]).outputs == ["final"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("exits", "message"),
    [
        (["block0", "block2"], "no 'block0'; the blocks are block1 to block5"),
        (["stem", "block2"], "no 'stem'"),
        (["block3", "block1"], "must ascend, each block once"),
        (["block2", "block2"], "must ascend, each block once"),
        (["block2"], r"exits\.channels: 2 values for the 1 exits"),
    ],
)
def test_exits_that_do_not_fit(family: Family, exits: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        tiny_network.architecture(family, exits=exits)
    assert f"exits.{family}" in str(caught.value)


def test_an_exit_may_sit_behind_the_last_block_only_where_something_follows() -> None:
    assert tiny_network.architecture("mobilenet_v2", exits=["block1", "block5"]).exits == ["block1", "block5"]
    with pytest.raises(ValueError, match="block5 is the last block, where the final classifier sits already"):
        tiny_network.architecture("mobilenet_v1", exits=["block1", "block5"])
