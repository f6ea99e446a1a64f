import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earlyexit.dataset import balanced, balanced_up_to, open_split

R = 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Packed splits of which val holds three images of each class."""
    np.save(tmp_path / "val.npy", np.zeros((6, R, R, 3), np.uint8))
    rows = "".join(f"{i},val,{i % 2},{i % 2 / 4}\n" for i in range(1, 7))
    (tmp_path / "index.csv").write_text(f"id,split,label,person_share\n{rows}")
    return tmp_path


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(0, 60), st.integers(0, 60))
def test_balanced_is_half_of_each_class_and_fixed(seed: int, half: int, zeros: int, ones: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat([0, 1], [zeros, ones]))
    if min(zeros, ones) < half:
        with pytest.raises(ValueError, match=f"there are {zeros} with label 0 .* and {ones} with label 1"):
            balanced(labels, 2 * half, seed)
        return
    chosen = balanced(labels, 2 * half, seed)
    assert np.bincount(labels[chosen], minlength=2).tolist() == [half, half]
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, balanced(labels, 2 * half, seed))


def test_balanced_depends_on_the_seed() -> None:
    labels = np.tile([0, 1], 500)
    assert balanced(labels, 20, 1).tolist() != balanced(labels, 20, 2).tolist()


@pytest.mark.parametrize("n", [-2, 0, 3])
def test_balanced_refuses_what_has_no_half(n: int) -> None:
    with pytest.raises(ValueError, match=f"{n} images cannot be half of each class"):
        balanced(np.array([0, 1] * 5), n, 1)


def test_open_split_names_what_is_missing(folder: Path) -> None:
    with pytest.raises(ValueError, match="no split 'test'; there are train, calibration, val"):
        open_split(folder, "test")
    for name in ("index.csv", "val.npy"):
        (folder / name).unlink()
        with pytest.raises(FileNotFoundError, match=f"{name}: no such file"):
            open_split(folder, "val")


@pytest.mark.parametrize("data", [b"", b"PK", b"\x93NUMPY\x01\x00" + struct.pack("<H", 2) + b"{}"])
def test_open_split_refuses_what_is_no_array(folder: Path, data: bytes) -> None:
    (folder / "val.npy").write_bytes(data)
    with pytest.raises(ValueError, match=r"val.npy: not a whole .npy file"):
        open_split(folder, "val")


def test_open_split_refuses_a_cut_array(folder: Path) -> None:
    data = (folder / "val.npy").read_bytes()
    (folder / "val.npy").write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"val.npy: not a whole .npy file"):
        open_split(folder, "val")


@pytest.mark.parametrize("shape", [(6, 8, 8), (6, 8, 9, 3), (6, 8, 8, 1)])
def test_open_split_refuses_another_shape(folder: Path, shape: tuple[int, ...]) -> None:
    np.save(folder / "val.npy", np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match=r"val.npy: uint8 of shape \(images, R, R, 3\) expected"):
        open_split(folder, "val")


def test_open_split_compares_array_and_index(folder: Path) -> None:
    np.save(folder / "val.npy", np.zeros((5, R, R, 3), np.uint8))
    with pytest.raises(ValueError, match=r"val.npy holds 5 images, .*index.csv lists 6"):
        open_split(folder, "val")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a table of id, split"),
        ("id,split\n1,val\n", "columns id, split, label, person_share expected"),
        ("id,split,label,person_share\nx,val,0,0.0\n", "not a table of id, split"),
        ("id,split,label,person_share\n1,val,2,0.0\n", "neither 0 nor 1"),
        ("id,split,label,person_share\n1,val,1,0.5\n1,val,0,0.0\n", "listed twice"),
    ],
)
def test_open_split_refuses_a_malformed_index(folder: Path, text: str, message: str) -> None:
    (folder / "index.csv").write_text(text)
    with pytest.raises(ValueError, match=f"index.csv: .*{message}"):
        open_split(folder, "val")


def test_balanced_up_to_takes_what_the_rarer_class_allows() -> None:
    labels = np.array([0] * 10 + [1] * 3)
    assert np.bincount(labels[balanced_up_to(labels, 100, seed=0)]).tolist() == [3, 3]
    assert np.array_equal(balanced_up_to(labels, 4, seed=0), balanced(labels, 4, seed=0))
    with pytest.raises(ValueError, match="even number"):
        balanced_up_to(np.zeros(5, np.int64), 4, seed=0)
