from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from earlyexit.model import ranges

ENDS = st.tuples(st.floats(-100, 0, width=32), st.floats(0.0078125, 100, width=32))


@given(st.lists(st.lists(ENDS, min_size=1, max_size=5), max_size=4))
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, found: list[list[tuple[float, float]]]
) -> None:
    folder = tmp_path_factory.mktemp("ranges")
    ranges.write(folder, found)
    assert ranges.read(folder, len(found) or 3) == (found or None)


def test_a_checkpoint_without_its_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"/baseline/ranges\.safetensors: not found; .*qat@baseline` writes it$"
    ):
        ranges.read(tmp_path / "baseline", 1)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / ranges.FILE).write_bytes(b"\x00" * 20)
    with pytest.raises(ValueError, match=r"ranges\.safetensors: damaged"):
        ranges.read(tmp_path, 1)


def test_ranges_of_another_network_are_named(tmp_path: Path) -> None:
    ranges.write(tmp_path, [[(0, 1)], [(0, 1)]])
    with pytest.raises(ValueError, match=r"ranges of segment1, segment2, but the network has segment1, .*, segment3$"):
        ranges.read(tmp_path, 3)


@pytest.mark.parametrize("ends", [(0, np.nan), (-np.inf, 0), (0, 0), (2, 1)])
def test_an_empty_range_and_one_that_is_no_number_are_named(tmp_path: Path, ends: tuple[float, float]) -> None:
    ranges.write(tmp_path, [[(0, 1), ends]])
    with pytest.raises(ValueError, match=r"ranges\.safetensors: segment1: range 1 is .* to .*; train again$"):
        ranges.read(tmp_path, 1)


@pytest.mark.parametrize("content", [np.zeros((2, 3), np.float32), np.zeros(2, np.float32), np.zeros((1, 2))])
def test_tensors_of_another_shape_or_type_are_named(tmp_path: Path, content: np.ndarray) -> None:
    (tmp_path / ranges.FILE).write_bytes(save({"segment1": content}))
    with pytest.raises(ValueError, match=r"ranges\.safetensors: segment1: .*, expected float32 \(operators \+ 1, 2\)$"):
        ranges.read(tmp_path, 1)
