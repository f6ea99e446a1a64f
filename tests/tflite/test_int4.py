import numpy as np
import pytest
from ai_edge_quantizer.transformations.transformation_utils import pack_data
from hypothesis import given
from hypothesis import strategies as st

from earlyexit.tflite import int4


@given(st.lists(st.integers(-8, 7), max_size=33))
def test_unpacked_gives_back_what_was_packed(numbers: list[int]) -> None:
    values = np.array(numbers, np.int8)
    data = int4.packed(values)
    assert data.size == -(-len(numbers) // 2)
    assert int4.unpacked(data, len(numbers)).tolist() == numbers


@pytest.mark.parametrize("shape", [(2, 3, 3, 4), (3, 1, 1, 5)])
def test_packs_as_ai_edge_quantizer_does(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(-8, 8, shape, np.int8)
    expected = pack_data(4, np.ravel(values).view(np.uint8))
    assert int4.packed(values).tobytes() == expected.tobytes()
