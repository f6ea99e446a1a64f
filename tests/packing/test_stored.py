from pathlib import Path

import numpy as np
import pytest

from earlyexit.packing.decode import decode
from earlyexit.packing.stored import stored
from tests import tiny_network
from tests.teaching import photographs

IMAGES = tiny_network.dark_and_bright(5, 16)


@pytest.mark.parametrize("split", ["train", "calibration", "val"])
def test_photographs_come_in_the_order_of_the_ids(tmp_path: Path, split: str) -> None:
    files = photographs.lossless(IMAGES)
    photographs.write(tmp_path, "val" if split == "val" else "train", files)
    found = stored(tmp_path, split, np.array([3, 0]))
    assert [one.id for one in found] == [3, 0]
    assert np.array_equal(found[0].pixels(16), IMAGES.images[3])
    assert np.array_equal(found[1].pixels(24), decode(files[0].content, 16, 16, 24))


def test_a_photograph_that_is_not_there_is_named(tmp_path: Path) -> None:
    photographs.write(tmp_path, "train", photographs.lossless(IMAGES))
    with pytest.raises(
        ValueError, match=r"instances_train\.json: image 7 of calibration is not listed or not stored; r"
    ):
        stored(tmp_path, "calibration", np.array([1, 7]))
